// The sentences of errors of the GPU's code.
#include "raise.h"

#include <stdexcept>
#include <string>

#include "limits.h"

namespace copycat {

void raise_cuda_error(const char* what, const char* words) {
  throw std::runtime_error(std::string("CUDA failed in ") + what + ": " + words);
}

void raise_too_many_blocks(const char* kernel, int64_t count) {
  throw std::runtime_error(std::string(kernel) + " would need " + std::to_string(count) + " blocks");
}

void raise_too_wide(int channels) {
  throw std::runtime_error("blocks of " + std::to_string(channels) + " channels are too wide for the GPU: " +
                           std::to_string(kWidestBlockOnGpu) + " are the most");
}

}  // namespace copycat
