// Errors of the GPU's code, raised by the compiler of the CPU's code. A .cu file calls nothing of the C++
// library, so that a wheel can be linked by another compiler than the one that nvcc takes, with a C++ library
// of its own.
#pragma once

#include <cstdint>

namespace copycat {

// "CUDA failed in <what>: <words>"
[[noreturn]] void raise_cuda_error(const char* what, const char* words);

// "<kernel> would need <count> blocks"
[[noreturn]] void raise_too_many_blocks(const char* kernel, int64_t count);

// "blocks of <channels> channels are too wide for the GPU: <most> are the most"
[[noreturn]] void raise_too_wide(int channels);

}  // namespace copycat
