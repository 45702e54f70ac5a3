# Which GPU architectures the kernels are compiled for.
#
# COPYCAT_CUDA_ARCHITECTURES:
#   AUTO  those of this machine's GPUs; without a GPU the oldest, which newer GPUs run too (they compile its PTX once)
#   ALL   Turing to Blackwell, as far as nvcc knows them: for releases
#   list  as CMake's CUDA_ARCHITECTURES, for example 80;90-real
# Where it is not a list, the newest architecture comes with PTX, for GPUs that are newer still.

set(copycat_all_architectures 75 80 86 89 90 100 120)

# asked: as above. known: what nvcc compiles for. installed: of this machine's GPUs.
function(copycat_choose_architectures result asked known installed)
  if(asked STREQUAL "ALL")
    set(wanted ${copycat_all_architectures})
  elseif(asked STREQUAL "AUTO")
    set(wanted "")
    list(GET copycat_all_architectures 0 oldest)
    foreach(architecture IN LISTS installed)
      # A GPU runs what was compiled for an older one of its generation, or that one's PTX.
      set(nearest "")
      foreach(candidate IN LISTS known)
        if(candidate LESS_EQUAL architecture AND candidate GREATER_EQUAL oldest)
          set(nearest ${candidate})
        endif()
      endforeach()
      list(APPEND wanted ${nearest})
    endforeach()
    if(NOT wanted)
      set(wanted ${oldest})
    endif()
  else()
    set(${result} ${asked} PARENT_SCOPE)
    return()
  endif()
  set(chosen "")
  foreach(architecture IN LISTS wanted)
    if(architecture IN_LIST known)
      list(APPEND chosen ${architecture})
    endif()
  endforeach()
  if(NOT chosen)
    message(FATAL_ERROR "nvcc compiles for none of the architectures ${wanted}: it knows ${known}")
  endif()
  list(REMOVE_DUPLICATES chosen)
  list(SORT chosen COMPARE NATURAL)
  list(POP_BACK chosen newest)
  list(TRANSFORM chosen APPEND "-real")
  set(${result} ${chosen} ${newest} PARENT_SCOPE)
endfunction()

# "compute_75\ncompute_80" -> 75;80, in rising order.
function(copycat_known_architectures result nvcc)
  execute_process(COMMAND ${nvcc} --list-gpu-arch OUTPUT_VARIABLE text RESULT_VARIABLE status ERROR_QUIET)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${nvcc} does not list its architectures: the kernels need CUDA 11.8 or newer")
  endif()
  string(REGEX MATCHALL "[0-9]+" numbers "${text}")
  list(REMOVE_DUPLICATES numbers)
  list(SORT numbers COMPARE NATURAL)
  set(${result} ${numbers} PARENT_SCOPE)
endfunction()

# The compute capabilities that the driver reports, 9.0 as 90; empty without a driver.
function(copycat_installed_architectures result)
  set(text "")
  find_program(COPYCAT_NVIDIA_SMI nvidia-smi)
  if(COPYCAT_NVIDIA_SMI)
    execute_process(COMMAND ${COPYCAT_NVIDIA_SMI} --query-gpu=compute_cap --format=csv,noheader
      OUTPUT_VARIABLE text ERROR_QUIET RESULT_VARIABLE status)
    if(NOT status EQUAL 0)
      set(text "")
    endif()
  endif()
  string(REGEX MATCHALL "[0-9]+\\.[0-9]" capabilities "${text}")
  list(TRANSFORM capabilities REPLACE "\\." "")
  list(REMOVE_DUPLICATES capabilities)
  set(${result} ${capabilities} PARENT_SCOPE)
endfunction()
