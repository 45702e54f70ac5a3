// Shared memory for pictures, kept between frames: mapping a large piece anew costs more than filling it.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "shared_memory.h"

namespace copycat {

// Idle pieces of shared memory. Any thread.
class BufferPool {
 public:
  // An idle piece of at least that size and at most twice as much, else a new one.
  std::shared_ptr<SharedMemory> borrow(std::size_t bytes);
  void give_back(std::shared_ptr<SharedMemory> memory);
  // Frees what is idle.
  void clear();

 private:
  std::mutex mutex_;
  std::vector<std::shared_ptr<SharedMemory>> idle_;  // the one used last at the end
};

// Shared memory on loan from a pool, given back on destruction. One thread.
class Buffer {
 public:
  Buffer(std::shared_ptr<BufferPool> pool, std::size_t bytes)
      : pool_(std::move(pool)), memory_(pool_->borrow(bytes)) {}
  ~Buffer() {
    if (!is_discarded_) pool_->give_back(std::move(memory_));
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void* data() const { return memory_->data(); }
  const std::shared_ptr<SharedMemory>& memory() const { return memory_; }
  // Does not give it back: the worker may still use it, or has never mapped it.
  void discard() { is_discarded_ = true; }

 private:
  std::shared_ptr<BufferPool> pool_;
  std::shared_ptr<SharedMemory> memory_;
  bool is_discarded_ = false;
};

}  // namespace copycat
