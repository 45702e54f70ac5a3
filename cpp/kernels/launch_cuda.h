// Runs every operation on a CUDA device. Plain C++, so that the bindings need no CUDA headers.
#pragma once

#include "gated_block.h"
#include "operations.h"

namespace copycat {

// The kernels are queued on `stream` (a cudaStream_t as an integer) and nobody waits for them. Pointers must
// be readable on the device. Raises std::runtime_error with CUDA's own words when a launch fails.
void run_on_cuda(const SampleCrops& operation, int device, uintptr_t stream);
void run_on_cuda(const CropPositions& operation, int device, uintptr_t stream);
void run_on_cuda(const Downsize& operation, int device, uintptr_t stream);
void run_on_cuda(const Recode& operation, int device, uintptr_t stream);
void run_on_cuda(const Statistics& operation, int device, uintptr_t stream);
void run_on_cuda(const Gate& operation, int device, uintptr_t stream);
void run_on_cuda(const GateGradient& operation, int device, uintptr_t stream);
void run_on_cuda(const ResidualNorm& operation, int device, uintptr_t stream);
void run_on_cuda(const ResidualNormGradient& operation, int device, uintptr_t stream);

// 0 when there is no device or no driver.
int cuda_device_count();

// The address under which the device sees pinned host memory, or null when it does not.
void* mapped_on_cuda(void* host, int device);

// Pins memory of the host for all devices. Returns null, or CUDA's own words when it cannot be pinned.
const char* register_on_cuda(void* host, size_t bytes, int device);

// Nothing on a device may use the memory any longer.
void unregister_on_cuda(void* host);

}  // namespace copycat
