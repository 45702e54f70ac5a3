// Starting and ending the worker: which interpreter, which environment, which descriptors it gets.
#pragma once

#include <sys/types.h>

#include <string>

namespace copycat {

// The interpreter that runs the worker: COPYCAT_PYTHON, else the one that `copycat ofx install` recorded in
// the bundle. Throws std::runtime_error that says what to do when there is none.
std::string find_interpreter();

// The bundle's Contents/Resources, found from where this binary was loaded; empty when it is not in a bundle.
std::string resources_directory();

// A running worker: its process and our end of the socket to it.
class WorkerProcess {
 public:
  // Throws std::runtime_error when it cannot be started.
  WorkerProcess();
  // Closes the socket, which ends the worker; one that does not end in time is killed.
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  int socket() const { return socket_; }
  bool has_ended() const;
  bool is_ours() const;            // false in a child that the host forked
  std::string last_words() const;  // the last line the worker wrote to its error output
  void kill() const;

 private:
  pid_t pid_ = -1;
  pid_t owner_ = -1;
  int socket_ = -1;
  int error_output_ = -1;
};

}  // namespace copycat
