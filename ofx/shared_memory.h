// Memory that the worker sees too: it has no name, only a descriptor, and so can never be left behind.
#pragma once

#include <cstddef>

namespace copycat {

// A mapped piece of shared memory. Owns the mapping and the descriptor.
class SharedMemory {
 public:
  // Throws std::runtime_error when the system has no memory left.
  explicit SharedMemory(std::size_t bytes);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  int descriptor() const { return descriptor_; }
  int id() const { return id_; }  // unique in this process; how messages name it

 private:
  void* data_ = nullptr;
  std::size_t bytes_;
  int descriptor_ = -1;
  int id_;
};

}  // namespace copycat
