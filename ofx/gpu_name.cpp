// Asks NVIDIA's management library, loaded only for the call.
#include "gpu_name.h"

#include <dlfcn.h>

#include <cstdlib>
#include <memory>
#include <sstream>
#include <vector>

namespace copycat {
namespace {

constexpr char kNone[] = "Not available";
constexpr unsigned long long kLeastFreeBytes = 512ull << 20;  // a context and a small network need about this

struct Memory {
  unsigned long long total, free, used;
};

using Device = void*;

// NVML (nvml.h of the driver): every function returns 0 on success.
class Nvml {
 public:
  Nvml() : library_(dlopen("libnvidia-ml.so.1", RTLD_LAZY | RTLD_LOCAL)) {
    if (!library_) return;
    load(init_, "nvmlInit_v2");
    load(shutdown_, "nvmlShutdown");
    load(count_, "nvmlDeviceGetCount_v2");
    load(handle_, "nvmlDeviceGetHandleByIndex_v2");
    load(name_, "nvmlDeviceGetName");
    load(memory_, "nvmlDeviceGetMemoryInfo");
    ready_ = init_ && shutdown_ && count_ && handle_ && name_ && memory_ && init_() == 0;
  }
  ~Nvml() {
    if (ready_) shutdown_();
    if (library_) dlclose(library_);
  }
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  unsigned count() const {
    unsigned number = 0;
    return ready_ && count_(&number) == 0 ? number : 0;
  }

  std::string usable_name(unsigned index) const {
    Device device = nullptr;
    char name[128] = {};
    Memory memory{};
    if (handle_(index, &device) != 0 || name_(device, name, sizeof name - 1) != 0) return kNone;
    if (memory_(device, &memory) == 0 && memory.free < kLeastFreeBytes) return kNone;
    return name;
  }

 private:
  template <typename Function>
  void load(Function*& function, const char* symbol) {
    function = reinterpret_cast<Function*>(dlsym(library_, symbol));
  }

  void* library_;
  bool ready_ = false;
  int (*init_)() = nullptr;
  int (*shutdown_)() = nullptr;
  int (*count_)(unsigned*) = nullptr;
  int (*handle_)(unsigned, Device*) = nullptr;
  int (*name_)(Device, char*, unsigned) = nullptr;
  int (*memory_)(Device, Memory*) = nullptr;
};

// The GPUs that a process may use, in its order. Obeys numbers in CUDA_VISIBLE_DEVICES, but not UUIDs.
std::vector<unsigned> visible_devices(unsigned count) {
  std::vector<unsigned> devices;
  const char* chosen = std::getenv("CUDA_VISIBLE_DEVICES");
  if (!chosen) {
    for (unsigned i = 0; i < count; ++i) devices.push_back(i);
    return devices;
  }
  std::istringstream list(chosen);
  for (std::string item; std::getline(list, item, ',');) {
    char* end = nullptr;
    const long number = std::strtol(item.c_str(), &end, 10);
    if (end == item.c_str() || number < 0 || number >= static_cast<long>(count))
      break;  // CUDA stops there too
    devices.push_back(static_cast<unsigned>(number));
  }
  return devices;
}

}  // namespace

std::string gpu_name(bool use_gpu, const std::string& index) {
  if (!use_gpu) return kNone;
  const Nvml nvml;
  const std::vector<unsigned> devices = visible_devices(nvml.count());
  if (devices.empty()) return kNone;
  const auto number =
      index == "Auto" ? 0 : static_cast<std::size_t>(std::strtoul(index.c_str(), nullptr, 10));
  return nvml.usable_name(devices[number < devices.size() ? number : 0]);
}

}  // namespace copycat
