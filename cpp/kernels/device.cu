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
  int devices = 0;
  cudaError_t status = cudaGetDeviceCount(&devices);  // fails where there is no driver
  if (status == cudaSuccess) {
    const CurrentDevice current(device);
    status = cudaHostRegister(host, bytes, cudaHostRegisterPortable | cudaHostRegisterMapped);
  }
  if (status == cudaSuccess) return nullptr;
  cudaGetLastError();  // else a later launch would report it
  return cudaGetErrorString(status);
}

void unregister_on_cuda(void* host) {
  if (cudaHostUnregister(host) != cudaSuccess) cudaGetLastError();
}

}  // namespace copycat
