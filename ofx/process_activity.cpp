// Linux's /proc; other systems say nothing.
#include "process_activity.h"

#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

namespace copycat {
namespace {

constexpr double kLeastShare = 0.05;  // of one core; threads that wait for Python's lock take less than 0.01

}  // namespace

std::optional<Activity> activity_of(pid_t pid) {
  const std::string folder = "/proc/" + std::to_string(pid);
  std::string line;
  if (std::ifstream stat(folder + "/stat"); !std::getline(stat, line)) return std::nullopt;
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(line.substr(name_end + 1));
  char state = 0;
  long long skipped = 0, user_ticks = 0, system_ticks = 0;
  Activity activity;
  fields >> state;
  for (int i = 0; i < 8; ++i) fields >> skipped;  // ppid to cminflt
  fields >> activity.page_ins >> skipped >> user_ticks >> system_ticks;
  if (!fields) return std::nullopt;
  activity.waits_for_disk = state == 'D';
  activity.cpu_seconds =
      static_cast<double>(user_ticks + system_ticks) / static_cast<double>(sysconf(_SC_CLK_TCK));
  std::ifstream io(folder + "/io");  // not readable everywhere
  for (std::string name; io >> name >> skipped;)
    if (name == "rchar:") activity.bytes_read = skipped;
  return activity;
}

bool has_worked(const Activity& before, const Activity& after, std::chrono::duration<double> elapsed) {
  return after.waits_for_disk || after.page_ins > before.page_ins || after.bytes_read > before.bytes_read ||
         after.cpu_seconds - before.cpu_seconds >= kLeastShare * elapsed.count();
}

}  // namespace copycat
