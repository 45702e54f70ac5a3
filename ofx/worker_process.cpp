// posix_spawn of the worker: hosts are multi-threaded, so nothing of theirs may run between fork and exec.
#include "worker_process.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string_view>
#include <vector>

extern char** environ;

namespace copycat {
namespace {

constexpr int kWorkerSocket = 3;             // the descriptor under which the worker finds its end
constexpr int kPatienceMilliseconds = 2000;  // from the closed socket to the kill

// The host's own libraries and its own Python must not reach the worker.
bool is_passed_on(std::string_view entry) {
  constexpr std::string_view kDropped[] = {"PYTHON", "LD_",         "DYLD_",
                                           "CONDA",  "VIRTUAL_ENV", "CUDA_DEVICE_ORDER="};
  for (const auto prefix : kDropped)
    if (entry.substr(0, prefix.size()) == prefix) return false;
  return true;
}

std::vector<char*> cleaned_environment() {
  std::vector<char*> kept;
  for (char** entry = environ; *entry; ++entry)
    if (is_passed_on(*entry)) kept.push_back(*entry);
  static char order[] = "CUDA_DEVICE_ORDER=PCI_BUS_ID";  // so that gpuIndex counts as NVML does
  kept.push_back(order);
  kept.push_back(nullptr);
  return kept;
}

// Above the standard descriptors, so that moving it to its place in the worker never meets itself.
int moved_up(int descriptor) {
  const int moved = fcntl(descriptor, F_DUPFD_CLOEXEC, 10);
  close(descriptor);
  return moved;
}

void open_socket_pair(int ends[2]) {
#ifdef SOCK_CLOEXEC
  constexpr int kKind = SOCK_STREAM | SOCK_CLOEXEC;
#else
  constexpr int kKind = SOCK_STREAM;
#endif
  if (socketpair(AF_UNIX, kKind, 0, ends) != 0)
    throw std::runtime_error(std::string("no socket for the worker: ") + std::strerror(errno));
  for (int i = 0; i < 2; ++i) ends[i] = moved_up(ends[i]);
#ifdef SO_NOSIGPIPE
  const int on = 1;
  setsockopt(ends[0], SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
}

int open_error_output() {
#ifdef __linux__
  const int descriptor = memfd_create("copycat-worker-errors", MFD_CLOEXEC);
  if (descriptor >= 0) {
    const int moved = moved_up(descriptor);
    fcntl(moved, F_SETFL, O_APPEND);
    return moved;
  }
#endif
  return -1;
}

// Waits for the child without ever blocking for good; true when it is gone (or was never ours to wait for).
bool reap(pid_t pid, int milliseconds) {
  for (int waited = 0;; waited += 10) {
    const pid_t gone = waitpid(pid, nullptr, WNOHANG);
    if (gone == pid || (gone < 0 && errno != EINTR)) return true;
    if (waited >= milliseconds) return false;
    usleep(10000);
  }
}

}  // namespace

std::string resources_directory() {
  Dl_info info{};
  if (!dladdr(reinterpret_cast<const void*>(&resources_directory), &info) || !info.dli_fname) return {};
  char* real = realpath(info.dli_fname, nullptr);
  if (!real) return {};
  std::string path(real);
  std::free(real);
  for (int i = 0; i < 2; ++i) {
    const auto slash = path.rfind('/');
    if (slash == std::string::npos) return {};
    path.resize(slash);
  }
  return path + "/Resources";
}

std::string find_interpreter() {
  std::string path, origin;
  if (const char* chosen = std::getenv("COPYCAT_PYTHON"); chosen && *chosen) {
    path = chosen;
    origin = "COPYCAT_PYTHON";
  } else {
    origin = resources_directory() + "/python.txt";
    std::ifstream file(origin);
    std::getline(file, path);
    if (path.empty())
      throw std::runtime_error(
          "copycat does not know its Python: run \"copycat ofx install\", or set COPYCAT_PYTHON to the "
          "interpreter that "
          "has copycat");
  }
  if (access(path.c_str(), X_OK) != 0)
    throw std::runtime_error("copycat's Python \"" + path + "\" (from " + origin + ") cannot be run: " +
                             std::strerror(errno) + "; run \"copycat ofx install\" again");
  return path;
}

WorkerProcess::WorkerProcess() : owner_(getpid()) {
  const std::string interpreter = find_interpreter();
  int ends[2];
  open_socket_pair(ends);
  socket_ = ends[0];
  error_output_ = open_error_output();

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], kWorkerSocket);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  if (error_output_ >= 0) posix_spawn_file_actions_adddup2(&actions, error_output_, 2);
  posix_spawn_file_actions_adddup2(&actions, 2, 1);  // a host's standard output may carry a picture

  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);

  std::string arguments[] = {interpreter, "-P", "-m", "copycat.worker", std::to_string(kWorkerSocket)};
  std::vector<char*> argv;
  for (auto& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const int failed = posix_spawn(&pid_, interpreter.c_str(), &actions, &attributes, argv.data(),
                                 cleaned_environment().data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (failed) {
    close(socket_);
    if (error_output_ >= 0) close(error_output_);
    throw std::runtime_error("copycat's Python \"" + interpreter +
                             "\" cannot be started: " + std::strerror(failed));
  }
}

WorkerProcess::~WorkerProcess() {
  close(socket_);
  if (is_ours() && !reap(pid_, kPatienceMilliseconds)) {
    ::kill(pid_, SIGKILL);
    reap(pid_, kPatienceMilliseconds);
  }
  if (error_output_ >= 0) close(error_output_);
}

bool WorkerProcess::has_ended() const { return waitpid(pid_, nullptr, WNOHANG) != 0; }

bool WorkerProcess::is_ours() const { return owner_ == getpid(); }

void WorkerProcess::kill() const {
  // Only while it is our child and not yet waited for: else the number may be another process by now.
  if (is_ours() && waitpid(pid_, nullptr, WNOHANG) == 0) ::kill(pid_, SIGKILL);
}

std::string WorkerProcess::last_words() const {
  if (error_output_ < 0) return {};
  struct stat status{};
  if (fstat(error_output_, &status) != 0 || status.st_size == 0) return {};
  char tail[2048];
  const off_t start =
      status.st_size > static_cast<off_t>(sizeof tail) ? status.st_size - static_cast<off_t>(sizeof tail) : 0;
  const ssize_t got = pread(error_output_, tail, sizeof tail, start);
  if (got <= 0) return {};
  std::string text(tail, static_cast<std::size_t>(got));
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  const auto line = text.rfind('\n');
  return line == std::string::npos ? text : text.substr(line + 1);
}

}  // namespace copycat
