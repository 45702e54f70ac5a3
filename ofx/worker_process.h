// Starting and ending the worker's process: which interpreter, which environment, which descriptors it gets.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <mutex>
#include <optional>
#include <string>

#include "descriptor.h"
#include "process_activity.h"

namespace copycat {

// The interpreter that runs the worker: COPYCAT_PYTHON, else the one that `copycat ofx install` recorded in
// the bundle. Throws std::runtime_error that says what to do when there is none.
std::string find_interpreter();

// The bundle's Contents/Resources, found from where this binary was loaded; empty when it is not in a bundle.
std::string resources_directory();

// A worker's process, our end of the socket to it, and of the pipe that carries its error output. Any thread
// may call any member; only one at a time may use the descriptors.
class WorkerProcess {
 public:
  // Throws std::runtime_error with a sentence when it cannot be started.
  WorkerProcess();
  // Shuts the socket, upon which the worker cleans up and ends; one that takes longer than 4 s is killed. In
  // a process that the host forked it only closes the descriptors.
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  int socket() const { return socket_.number(); }
  int errors() const { return errors_.number(); }
  bool is_ours() const;  // false in a process that the host forked
  bool has_ended();
  std::optional<Activity> activity();  // none once it has ended
  void kill();

 private:
  bool reap();
  bool reap_within(std::chrono::milliseconds patience);

  const pid_t owner_;
  Descriptor socket_, errors_;
  std::mutex mutex_;  // of what follows
  pid_t pid_ = -1;    // -1 once it was waited for: the number may be another process's by now
};

}  // namespace copycat
