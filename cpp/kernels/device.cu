// What the CUDA runtime says about devices and host memory.
#include "launch.cuh"

namespace copycat {

int cuda_device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

void* mapped_on_cuda(void* host, int device) {
  const CurrentDevice current(device);
  cudaPointerAttributes attributes{};
  check(cudaPointerGetAttributes(&attributes, host), "cudaPointerGetAttributes");
  return attributes.type == cudaMemoryTypeUnregistered ? nullptr : attributes.devicePointer;
}

const char* register_on_cuda(void* host, size_t bytes, int device) {
  const CurrentDevice current(device);
  const cudaError_t status = cudaHostRegister(host, bytes, cudaHostRegisterPortable | cudaHostRegisterMapped);
  if (status == cudaSuccess) return nullptr;
  cudaGetLastError();  // else a later launch would report it
  return cudaGetErrorString(status);
}

void unregister_on_cuda(void* host) {
  if (cudaHostUnregister(host) != cudaSuccess) cudaGetLastError();
}

}  // namespace copycat
