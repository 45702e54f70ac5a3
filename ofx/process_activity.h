// Whether a process that says nothing works all the same: it may hold Python's lock in a slow import.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>

namespace copycat {

// What a process has done since it began.
struct Activity {
  double cpu_seconds = 0;
  long long page_ins = 0;    // pages that had to be read from a disk
  long long bytes_read = 0;  // by calls of read
  bool waits_for_disk = false;
};

// None where the system does not say. Any thread.
std::optional<Activity> activity_of(pid_t pid);

// Whether it read or computed in between. Threads that merely wait for a lock wake up now and then, which is
// no work.
bool has_worked(const Activity& before, const Activity& after, std::chrono::duration<double> elapsed);

}  // namespace copycat
