// Launches every kernel: device, grid, stream and error check.
#pragma once

#include <cuda_runtime.h>

#include "launch_cuda.h"
#include "raise.h"

namespace copycat {

inline constexpr int kThreads = 256;
inline constexpr int kWarp = 32;

inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) raise_cuda_error(what, cudaGetErrorString(status));
}

// Makes a device current for a scope.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device) {
    check(cudaGetDevice(&before_), "cudaGetDevice");
    if (device != before_) check(cudaSetDevice(device), "cudaSetDevice");
    device_ = device;
  }
  ~CurrentDevice() {
    if (device_ != before_) cudaSetDevice(before_);
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int before_ = 0;
  int device_ = 0;
};

template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), int64_t blocks, int threads, int device,
            uintptr_t stream, const Arguments&... arguments) {
  if (blocks == 0) return;  // an empty batch
  if (blocks < 0 || blocks > INT32_MAX) raise_too_many_blocks(name, blocks);
  const CurrentDevice current(device);
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = reinterpret_cast<cudaStream_t>(stream);
  check(cudaLaunchKernelEx(&config, kernel, arguments...), name);
}

}  // namespace copycat
