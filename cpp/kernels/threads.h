// Spreads independent pieces of work over a few threads.
#pragma once

#include <cstdint>

namespace copycat {

// Calls work(context, begin, end) for ranges that together cover 0 ... count - 1, each at most `grain` long,
// on the calling thread and up to threads - 1 others, and returns when all are done. The caller works through
// the ranges too, so helpers that wake late delay nothing. `work` must not throw. Any thread may call this,
// and so may a child of fork().
void spread(int64_t count, int64_t grain, int threads, void (*work)(const void*, int64_t, int64_t),
            const void* context);

template <typename Work>
void spread(int64_t count, int64_t grain, int threads, const Work& work) {
  spread(
      count, grain, threads,
      [](const void* context, int64_t begin, int64_t end) {
        (*static_cast<const Work*>(context))(begin, end);
      },
      &work);
}

}  // namespace copycat
