// memfd where the system has it, else POSIX shared memory that is unlinked at once.
#include "shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

namespace copycat {
namespace {

int open_nameless() {
#ifdef __linux__
  return memfd_create("copycat", MFD_CLOEXEC);
#else
  static std::atomic<unsigned> counter{0};
  const std::string name = "/copycat-" + std::to_string(getpid()) + "-" + std::to_string(counter++);
  const int descriptor = shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
  if (descriptor >= 0) {
    shm_unlink(name.c_str());
    fcntl(descriptor, F_SETFD, FD_CLOEXEC);
  }
  return descriptor;
#endif
}

}  // namespace

SharedMemory::SharedMemory(std::size_t bytes) : bytes_(bytes) {
  static std::atomic<int> next_id{1};
  id_ = next_id++;
  descriptor_ = open_nameless();
  int error = errno;
  if (descriptor_ >= 0) {
    if (ftruncate(descriptor_, static_cast<off_t>(bytes_)) == 0) {
      data_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_, 0);
      if (data_ != MAP_FAILED) return;
    }
    error = errno;
    close(descriptor_);
  }
  throw std::runtime_error("no shared memory of " + std::to_string(bytes_ >> 20) +
                           " MiB for the worker: " + std::strerror(error));
}

SharedMemory::~SharedMemory() {
  munmap(data_, bytes_);
  close(descriptor_);
}

}  // namespace copycat
