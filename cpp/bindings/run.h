// Hands an operation to the launcher of its device, without the interpreter's lock.
#pragma once

#include "tensor.h"

#if defined(COPYCAT_HAS_CUDA)
#include "../kernels/launch_cuda.h"
#endif

namespace copycat::bindings {

// Where and how a call runs: CPU threads, CUDA stream (as an integer).
struct Place {
  Device device;
  int threads;
  uintptr_t stream;
};

template <typename Operation>
void run(const Operation& operation, const Place& place) {
  const py::gil_scoped_release unlocked;
  if (!place.device.cuda) {
    run_on_cpu(operation, place.threads);
    return;
  }
#if defined(COPYCAT_HAS_CUDA)
  run_on_cuda(operation, place.device.index, place.stream);
#else
  throw std::runtime_error("copycat was built without CUDA, but the output is on a CUDA device");
#endif
}

// The address under which a CUDA device sees pinned host memory, or null when it does not.
inline void* mapped_pointer([[maybe_unused]] void* host, [[maybe_unused]] int device) {
#if defined(COPYCAT_HAS_CUDA)
  return mapped_on_cuda(host, device);
#else
  return nullptr;
#endif
}

}  // namespace copycat::bindings
