// The threads behind `spread`: started when first needed, asleep in between, gone with the process. A child
// of fork() has none of them and starts its own.
#include "threads.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace copycat {
namespace {

struct Job {
  int64_t count, grain;
  void (*work)(const void*, int64_t, int64_t);
  const void* context;
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> done{0};
  std::mutex mutex;
  std::condition_variable finished;

  // `context` lives on the caller's stack: a thread touches it only between taking a range and reporting it
  // as done.
  void take_ranges() {
    for (;;) {
      const int64_t begin = next.fetch_add(grain);
      if (begin >= count) return;
      const int64_t end = std::min(count, begin + grain);
      work(context, begin, end);
      if (done.fetch_add(end - begin) + end - begin == count) {
        const std::lock_guard<std::mutex> lock(mutex);
        finished.notify_all();
      }
    }
  }

  void wait() {
    std::unique_lock<std::mutex> lock(mutex);
    finished.wait(lock, [this] { return done.load() == count; });
  }
};

class Pool {
 public:
  void offer(const std::shared_ptr<Job>& job, int helpers) {
    const std::lock_guard<std::mutex> lock(mutex_);
    try {
      for (; started_ < helpers; ++started_) std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {
      // The system gives no more threads: the running ones and the caller do the work.
    }
    job_ = job;
    wanted_ = helpers;
    awake_.notify_all();
  }

 private:
  [[noreturn]] void serve() {
    for (;;) {
      std::shared_ptr<Job> job;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        awake_.wait(lock, [this] { return wanted_ > 0; });
        --wanted_;
        job = job_;
      }
      job->take_ranges();
    }
  }

  std::mutex mutex_;
  std::condition_variable awake_;
  std::shared_ptr<Job> job_;  // the newest; a helper that comes late to it finds nothing left
  int wanted_ = 0;
  int started_ = 0;
};

Pool* pool = new Pool;  // never destroyed: its threads sleep in it until the process ends

#if !defined(_WIN32)
// In a child of fork() the pool's condition variable waits for threads that are not there, and its mutex may
// belong to one of them: the child leaves both alone.
[[maybe_unused]] const int fork_handler = pthread_atfork(nullptr, nullptr, [] { pool = new Pool; });
#endif

}  // namespace

void spread(int64_t count, int64_t grain, int threads, void (*work)(const void*, int64_t, int64_t),
            const void* context) {
  if (count <= 0) return;
  const int64_t pieces = (count + grain - 1) / grain;
  const int helpers = static_cast<int>(std::min<int64_t>(threads, pieces)) - 1;
  if (helpers <= 0) {
    work(context, 0, count);
    return;
  }
  const auto job = std::make_shared<Job>();
  job->count = count;
  job->grain = grain;
  job->work = work;
  job->context = context;
  pool->offer(job, helpers);
  job->take_ranges();
  job->wait();
}

}  // namespace copycat
