// Memory that the worker sees too: it has no name, only a descriptor, so nothing is ever left behind.
#pragma once

#include <cstddef>

#include "descriptor.h"

namespace copycat {

// A mapped piece of shared memory. Immutable; the bytes in it are whoever's turn it is.
class SharedMemory {
 public:
  // Throws std::runtime_error when the system has no memory or no descriptor left.
  explicit SharedMemory(std::size_t bytes);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  int descriptor() const { return descriptor_.number(); }
  int id() const { return id_; }  // unique in this process; messages refer to it

 private:
  Descriptor descriptor_;
  void* data_ = nullptr;
  std::size_t bytes_;
  int id_;
};

}  // namespace copycat
