// Aligned memory for the loops' intermediate results.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace copycat {

inline constexpr int kAlignment = 64;

struct Free {
  void operator()(void* memory) const { operator delete(memory, std::align_val_t(kAlignment)); }
};
using Memory = std::unique_ptr<void, Free>;

inline Memory allocate(int64_t bytes) {
  return Memory(operator new(static_cast<size_t>(bytes), std::align_val_t(kAlignment)));
}

// Scratch memory, one piece per working thread, allocated up front: work itself must not throw.
class ScratchPool {
 public:
  ScratchPool(int count, int64_t bytes) {
    for (int i = 0; i < count; ++i) free_.push_back(allocate(bytes));
  }
  Memory take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    Memory scratch = std::move(free_.back());
    free_.pop_back();
    return scratch;
  }
  void give(Memory scratch) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(scratch));  // within its capacity
  }

 private:
  std::mutex mutex_;
  std::vector<Memory> free_;
};

}  // namespace copycat
