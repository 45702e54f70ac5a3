// memfd where the system has it, else POSIX shared memory that is unlinked at once.
#include "shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <stdexcept>
#include <string>

namespace copycat {
namespace {

Descriptor open_nameless() {
#ifdef __linux__
  return Descriptor(memfd_create("copycat", MFD_CLOEXEC));
#else
  static std::atomic<unsigned> counter{0};
  const std::string name = "/copycat-" + std::to_string(getpid()) + "-" + std::to_string(counter++);
  Descriptor descriptor(shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600));
  if (descriptor) shm_unlink(name.c_str());
  return descriptor;
#endif
}

std::atomic<int> g_next_id{1};

}  // namespace

SharedMemory::SharedMemory(std::size_t bytes) : bytes_(bytes), id_(g_next_id++) {
  if (const Descriptor low = open_nameless()) descriptor_ = moved_up(low);
  if (descriptor_ && ftruncate(descriptor(), static_cast<off_t>(bytes_)) == 0) {
    data_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor(), 0);
    if (data_ != MAP_FAILED) return;
  }
  throw std::runtime_error(with_reason(
      "the copycat worker gets no picture: no shared memory of " + std::to_string(bytes_ >> 20) + " MiB",
      errno));
}

SharedMemory::~SharedMemory() { munmap(data_, bytes_); }

}  // namespace copycat
