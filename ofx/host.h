// What the host offers: its suites, its properties, its messages and its progress bar, each safe to use where
// absent.
#pragma once

#include <chrono>
#include <string>

#include "abi.h"

namespace copycat {

// Suites of the host; the first three are there after a successful fetch, the others may be null.
struct Suites {
  const OfxPropertySuiteV1* property = nullptr;
  const OfxImageEffectSuiteV1* effect = nullptr;
  const OfxParameterSuiteV1* parameter = nullptr;
  const OfxMessageSuiteV1* message = nullptr;
  const OfxMessageSuiteV2* persistent = nullptr;
  const OfxProgressSuiteV1* progress1 = nullptr;
  const OfxProgressSuiteV2* progress2 = nullptr;
  const OfxTimeLineSuiteV1* time_line = nullptr;
};

// The pointer that the host hands over before Load; nothing is called on it yet.
void set_host(OfxHost* host);

// In Load: false when the host lacks a suite that nothing works without.
bool fetch_suites();
const Suites& suites();
bool has_suites();  // those that nothing works without

// A host's property set. A property that does not exist, or a null set, gives the fallback.
class Properties {
 public:
  Properties() = default;
  explicit Properties(OfxPropertySetHandle handle) : handle_(handle) {}

  explicit operator bool() const { return handle_ != nullptr; }
  OfxPropertySetHandle handle() const { return handle_; }

  std::string text(const char* name, const char* fallback = "", int index = 0) const;
  int integer(const char* name, int fallback = 0, int index = 0) const;
  double number(const char* name, double fallback = 0, int index = 0) const;
  void* pointer(const char* name) const;

  // Hosts may not know a property; what they do not know they do without.
  void set(const char* name, const char* value, int index = 0) const;
  void set(const char* name, int value, int index = 0) const;
  void set(const char* name, double value, int index = 0) const;
  void set_pointer(const char* name, void* value) const;

  OfxRectI rectangle(const char* name, OfxRectI fallback = {}) const;  // int x 4
  void set(const char* name, OfxRectD value) const;                    // double x 4

 private:
  OfxPropertySetHandle handle_ = nullptr;
};

Properties host_properties();
Properties effect_properties(OfxImageEffectHandle effect);

// Whether nobody sits in front of the host: a farm, a command line.
bool is_in_background();

// Natron has its own ways with messages and a line below a node's name.
bool is_natron();

// Shows a message now. Returns the host's status, which answers a question with ReplyYes or ReplyNo.
OfxStatus show_message(OfxImageEffectHandle effect, const char* type, const std::string& text);

bool has_persistent_messages();

// Puts the text on the node until it is replaced; empty text removes it. A host without such messages shows
// errors and warnings once. Natron opens a dialog for every other text: it gets none, see show_on_node.
void set_persistent_message(OfxImageEffectHandle effect, const char* type, const std::string& text);

bool has_progress_bars();

// The host's progress bar while it exists; works without one.
class ProgressBar {
 public:
  ProgressBar(OfxImageEffectHandle effect, const std::string& label);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // `fraction` from 0 to 1; false when the user cancelled.
  bool update(double fraction);

 private:
  OfxImageEffectHandle effect_;
  double shown_ = -1;
  std::chrono::steady_clock::time_point updated_;
  bool cancelled_ = false;
};

}  // namespace copycat
