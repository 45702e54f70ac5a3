# Toolchain for wheels and bundles that need no newer glibc than 2.28, that of RHEL 8 and Rocky 8: the compiler of
# `pip install ziglang`. The GPU's code is compiled by nvcc with its own host compiler; it needs nothing of the C++ library.
find_program(ZIG NAMES python-zig zig REQUIRED)
if(CMAKE_HOST_SYSTEM_PROCESSOR STREQUAL "aarch64")
  set(target aarch64-linux-gnu.2.28)
else()
  set(target x86_64-linux-gnu.2.28)
endif()
set(CMAKE_CXX_COMPILER ${ZIG})
set(CMAKE_CXX_COMPILER_ARG1 "c++ -target ${target}")
set(CMAKE_MODULE_LINKER_FLAGS_INIT -s)
# pybind11 asks whether the compiler can optimise while linking, which is not used. Zig would compile its C++ library for it.
set(HAS_FLTO_THIN OFF CACHE INTERNAL "")
set(HAS_FLTO_AUTO OFF CACHE INTERNAL "")
set(HAS_FLTO OFF CACHE INTERNAL "")
