// Environment variables that users set.
#pragma once

#include <chrono>
#include <cstdlib>

namespace copycat {

// A whole number of seconds above 0, else the fallback.
inline std::chrono::seconds seconds_from(const char* variable, int fallback) {
  const char* chosen = std::getenv(variable);
  const int number = chosen ? std::atoi(chosen) : 0;
  return std::chrono::seconds(number > 0 ? number : fallback);
}

}  // namespace copycat
