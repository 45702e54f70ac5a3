// Work spread over threads: every piece is done once, in a child of fork() too.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "check.h"
#include "kernels/threads.h"

using namespace copycat;

namespace {

constexpr int64_t kCount = 1000;

bool does_all_once(int threads) {
  std::vector<std::atomic<int>> done(kCount);
  spread(kCount, 7, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++done[static_cast<size_t>(i)];
  });
  for (const auto& times : done)
    if (times != 1) return false;
  return true;
}

// Whether a child of fork() does its work; one that hangs is ended by an alarm.
bool child_does_all_once() {
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    bool right = true;
    for (int i = 0; i < 20; ++i) right = does_all_once(4) && right;
    _exit(right ? 0 : 1);
  }
  int status = -1;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

TEST(every_piece_is_done_once) {
  for (const int threads : {1, 2, 5}) EQUAL(does_all_once(threads), true);
}

TEST(a_forked_child_starts_threads_of_its_own) {
  EQUAL(does_all_once(4), true);
  usleep(20000);  // the threads wait for work when the process is copied
  EQUAL(child_does_all_once(), true);
  EQUAL(does_all_once(4), true);
}

// The sanitizer's own allocator may be locked by another thread when a process is copied; glibc's is not.
#if !defined(__SANITIZE_ADDRESS__)

TEST(a_child_may_be_forked_while_others_work) {
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) does_all_once(3);
  });
  for (int i = 0; i < 20; ++i) EQUAL(child_does_all_once(), true);
  stop = true;
  busy.join();
}

#endif
