# Toolchain for a bundle that needs no newer glibc than 2.28, that of RHEL 8 and Rocky 8.
# `pip install ziglang`, then cmake -S ofx -B build/ofx-release --toolchain glibc-2.28.cmake (the path of this file).
find_program(ZIG NAMES python-zig zig REQUIRED)
if(CMAKE_HOST_SYSTEM_PROCESSOR STREQUAL "aarch64")
  set(target aarch64-linux-gnu.2.28)
else()
  set(target x86_64-linux-gnu.2.28)
endif()
set(CMAKE_CXX_COMPILER ${ZIG})
set(CMAKE_CXX_COMPILER_ARG1 "c++ -target ${target}")
set(CMAKE_MODULE_LINKER_FLAGS_INIT -s)
