// Starts the worker with posix_spawn: in a multi-threaded host no code may run between fork and exec.
#include "worker_process.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

extern char** environ;

namespace copycat {
namespace {

constexpr int kWorkerSocket = 3;  // the descriptor under which the worker finds its end
constexpr std::chrono::seconds kPatience{
    4};  // from the shut socket to the kill; the worker needs 1.5 at most
constexpr std::chrono::milliseconds kReapInterval{5};

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
  static char order[] = "CUDA_DEVICE_ORDER=PCI_BUS_ID";  // gpuIndex counts as NVML does
  kept.push_back(order);
  kept.push_back(nullptr);
  return kept;
}

// Attributes and actions of a spawn; freed on destruction.
struct Spawn {
  Spawn() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~Spawn() {
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
  }
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

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
    if (!file && errno != ENOENT) throw std::runtime_error(with_reason(origin + " cannot be read", errno));
    std::getline(file, path);
    if (path.empty())
      throw std::runtime_error(
          "copycat does not know its Python: run \"copycat ofx install\", or set COPYCAT_PYTHON to the "
          "interpreter that has copycat");
  }
  if (access(path.c_str(), X_OK) != 0)
    throw std::runtime_error("copycat's Python \"" + path + "\" (from " + origin + ") cannot be run: " +
                             std::strerror(errno) + "; run \"copycat ofx install\" again");
  return path;
}

WorkerProcess::WorkerProcess() : owner_(getpid()) {
  const std::string interpreter = find_interpreter();
  DescriptorPair sockets = open_socket_pair();
  DescriptorPair pipe = open_pipe();
  fcntl(pipe.first.number(), F_SETFL, O_NONBLOCK);

  Spawn spawn;
  posix_spawn_file_actions_adddup2(&spawn.actions, sockets.second.number(), kWorkerSocket);
  posix_spawn_file_actions_addopen(&spawn.actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&spawn.actions, pipe.second.number(), 2);
  posix_spawn_file_actions_adddup2(&spawn.actions, 2, 1);  // a host's standard output may carry a picture

  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&spawn.attributes, &none);
  posix_spawnattr_setsigdefault(&spawn.attributes, &all);
  posix_spawnattr_setpgroup(&spawn.attributes, 0);
  posix_spawnattr_setflags(&spawn.attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);

  std::string arguments[] = {interpreter, "-P", "-m", "copycat.worker", std::to_string(kWorkerSocket)};
  std::vector<char*> argv;
  for (auto& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const int failed = posix_spawn(&pid_, interpreter.c_str(), &spawn.actions, &spawn.attributes, argv.data(),
                                 cleaned_environment().data());
  if (failed) {
    pid_ = -1;
    throw std::runtime_error(
        with_reason("copycat's Python \"" + interpreter + "\" cannot be started", failed));
  }
  socket_ = std::move(sockets.first);
  errors_ = std::move(pipe.first);
}

WorkerProcess::~WorkerProcess() {
  if (!is_ours()) return;
  shutdown(socket_.number(), SHUT_RDWR);  // a process that the host forked may hold the socket open
  if (reap_within(kPatience)) return;
  kill();
  reap_within(kPatience);
}

bool WorkerProcess::is_ours() const { return owner_ == getpid(); }

bool WorkerProcess::has_ended() {
  std::lock_guard lock(mutex_);
  return reap();
}

std::optional<Activity> WorkerProcess::activity() {
  std::lock_guard lock(mutex_);
  return reap() ? std::nullopt : activity_of(pid_);
}

void WorkerProcess::kill() {
  std::lock_guard lock(mutex_);
  if (is_ours() && !reap()) ::kill(pid_, SIGKILL);
}

// Under the mutex. Whether the process has ended; it is waited for once, and a host may have done so.
bool WorkerProcess::reap() {
  if (pid_ < 0) return true;
  const pid_t ended = waitpid(pid_, nullptr, WNOHANG);
  if (ended == pid_ || (ended < 0 && errno != EINTR)) pid_ = -1;
  return pid_ < 0;
}

bool WorkerProcess::reap_within(std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!has_ended()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(kReapInterval);
  }
  return true;
}

}  // namespace copycat
