// Hands an operation to the launcher of its device, without the interpreter's lock.
#pragma once

#include "tensor.h"

#if defined(COPYCAT_HAS_CUDA)
#include "../kernels/launch_cuda.h"
#endif

namespace copycat::bindings {

// Where a call runs: its CPU threads, or its CUDA stream (as an integer).
struct Launch {
  Device device;
  int threads;
  uintptr_t stream;
};

template <typename Operation>
void run(const Operation& operation, const Launch& launch) {
  const py::gil_scoped_release unlocked;
  if (!launch.device.cuda) {
    run_on_cpu(operation, launch.threads);
    return;
  }
#if defined(COPYCAT_HAS_CUDA)
  run_on_cuda(operation, launch.device.index, launch.stream);
#else
  throw std::runtime_error("copycat was built without CUDA, but the output is on a CUDA device");
#endif
}

// The address under which a CUDA device sees pinned host memory; null for other memory.
inline void* mapped_pointer([[maybe_unused]] void* host, [[maybe_unused]] int device) {
#if defined(COPYCAT_HAS_CUDA)
  return mapped_on_cuda(host, device);
#else
  return nullptr;
#endif
}

}  // namespace copycat::bindings
