// The host's suites, properties, messages and progress bar, each safe to use where the host lacks it.
#pragma once

#include <chrono>
#include <string>

#include "abi.h"

namespace copycat {

// Suites of the host. The first three are mandatory, the others may be null. Read by any thread.
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

// Stores the host's pointer before Load; calls nothing on it yet.
void set_host(OfxHost* host);

// In Load, on any thread: false when the host lacks a mandatory suite.
bool fetch_suites();
const Suites& suites();
bool has_suites();  // the mandatory ones

// A host's property set. Getters return the fallback for a missing property and for a null set.
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

  // Ignores properties that the host does not know.
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

// Whether the host runs without a user: on a farm or a command line.
bool is_in_background();

// Natron treats messages in its own way and has a line below a node's name.
bool is_natron();

// Shows a message now. Returns the host's status, which answers a question with ReplyYes or ReplyNo.
OfxStatus show_message(OfxImageEffectHandle effect, const char* type, const std::string& text);

bool can_show_messages();
bool has_persistent_messages();

// Shows the text on the node until it is replaced; empty text removes it. A host without persistent messages
// shows errors and warnings once. Natron, which opens a dialog for all other types, gets none: see
// show_on_node.
void set_persistent_message(OfxImageEffectHandle effect, const char* type, const std::string& text);

bool has_progress_bars();

// The host's progress bar, or nothing where it has none. One thread.
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
