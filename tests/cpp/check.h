// A minimal test harness: named cases, checks that say the actual value, and a last line with the counts.
#pragma once

#include <cstdio>
#include <functional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace check {

struct Case {
  std::string name;
  std::function<void()> body;
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

struct Register {
  Register(std::string name, std::function<void()> body) {
    cases().push_back({std::move(name), std::move(body)});
  }
};

inline void fail(const char* file, int line, const std::string& what) {
  ++failures();
  std::printf("%s:%d: %s\n", file, line, what.c_str());
}

template <typename A, typename B>
void equal(const char* file, int line, const char* text, const A& actual, const B& expected) {
  if (actual == expected) return;
  std::ostringstream message;
  message << text << " is " << actual << ", not " << expected;
  fail(file, line, message.str());
}

inline void near(const char* file, int line, const char* text, double actual, double expected,
                 double tolerance) {
  const double error = actual > expected ? actual - expected : expected - actual;
  if (error <= tolerance) return;
  std::ostringstream message;
  message.precision(10);
  message << text << " is " << actual << ", not within " << tolerance << " of " << expected;
  fail(file, line, message.str());
}

// Runs every case; the result is main's.
inline int run_all() {
  int failed = 0;
  for (const Case& test : cases()) {
    const int before = failures();
    test.body();
    if (failures() == before) continue;
    ++failed;
    std::printf("FAILED %s\n", test.name.c_str());
  }
  std::printf("%zu tests, %d failed\n", cases().size(), failed);
  return failed == 0 && !cases().empty() ? 0 : 1;
}

}  // namespace check

#define TEST(name)                                           \
  static void name();                                        \
  static const check::Register register_##name(#name, name); \
  static void name()

#define EQUAL(actual, expected) check::equal(__FILE__, __LINE__, #actual, actual, expected)
#define NEAR(actual, expected, tolerance) \
  check::near(__FILE__, __LINE__, #actual, actual, expected, tolerance)
