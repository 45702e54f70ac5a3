// Which piece is lent, and which idle ones are kept.
#include "buffer_pool.h"

#include <algorithm>

namespace copycat {
namespace {

constexpr std::size_t kMostIdle = 4;
constexpr std::size_t kMostIdleBytes = std::size_t{1} << 30;
constexpr std::size_t kStep = std::size_t{1} << 20;  // sizes are multiples of this

}  // namespace

std::shared_ptr<SharedMemory> BufferPool::borrow(std::size_t bytes) {
  const std::size_t size = (std::max(bytes, std::size_t{1}) + kStep - 1) / kStep * kStep;
  {
    std::lock_guard lock(mutex_);
    for (auto it = idle_.rbegin(); it != idle_.rend(); ++it) {
      if ((*it)->bytes() < size || (*it)->bytes() > 2 * size) continue;
      std::shared_ptr<SharedMemory> memory = std::move(*it);
      idle_.erase(std::next(it).base());
      return memory;
    }
  }
  return std::make_shared<SharedMemory>(size);
}

void BufferPool::give_back(std::shared_ptr<SharedMemory> memory) {
  std::vector<std::shared_ptr<SharedMemory>> freed;  // unmapped after the mutex is unlocked
  std::lock_guard lock(mutex_);
  idle_.push_back(std::move(memory));
  std::size_t bytes = 0;
  for (const auto& piece : idle_) bytes += piece->bytes();
  while (idle_.size() > kMostIdle || (bytes > kMostIdleBytes && idle_.size() > 1)) {
    bytes -= idle_.front()->bytes();
    freed.push_back(std::move(idle_.front()));
    idle_.erase(idle_.begin());
  }
}

void BufferPool::clear() {
  std::vector<std::shared_ptr<SharedMemory>> freed;
  std::lock_guard lock(mutex_);
  freed.swap(idle_);
}

}  // namespace copycat
