// Calls into the host, which may lack any of them.
#include "host.h"

#include <cstring>

namespace copycat {
namespace {

constexpr std::chrono::milliseconds kBarInterval{50};  // hosts redraw at every update

OfxHost* g_host = nullptr;
Suites g_suites;

template <typename Suite>
const Suite* fetch(const char* name, int version) {
  return static_cast<const Suite*>(g_host->fetchSuite(g_host->host, name, version));
}

// openfx-runner exits when asked for a version that it does not have.
bool has_second_versions() { return host_properties().text(kOfxPropName) != "openfx-driver"; }

// The text as a printf format without arguments: Natron 2.5 ignores arguments.
std::string as_format(const std::string& text) {
  std::string format;
  for (const char letter : text) format.append(letter == '%' ? 2 : 1, letter);
  return format;
}

}  // namespace

void set_host(OfxHost* host) {
  if (g_host != host) g_host = host;
}

bool fetch_suites() {
  if (!g_host || !g_host->fetchSuite) return false;
  Suites found;
  found.property = fetch<OfxPropertySuiteV1>(kOfxPropertySuite, 1);
  if (!found.property) return false;
  if (!g_suites.property) g_suites.property = found.property;  // the host's name is read with it
  found.effect = fetch<OfxImageEffectSuiteV1>(kOfxImageEffectSuite, 1);
  found.parameter = fetch<OfxParameterSuiteV1>(kOfxParameterSuite, 1);
  found.message = fetch<OfxMessageSuiteV1>(kOfxMessageSuite, 1);
  if (has_second_versions()) found.persistent = fetch<OfxMessageSuiteV2>(kOfxMessageSuite, 2);
  found.progress2 = fetch<OfxProgressSuiteV2>(kOfxProgressSuite, 2);
  if (!found.progress2) found.progress1 = fetch<OfxProgressSuiteV1>(kOfxProgressSuite, 1);
  found.time_line = fetch<OfxTimeLineSuiteV1>(kOfxTimeLineSuite, 1);
  // Some hosts load again around every frame while other threads render: unchanged suites are not rewritten.
  if (std::memcmp(&g_suites, &found, sizeof found) != 0) g_suites = found;
  return has_suites();
}

const Suites& suites() { return g_suites; }

bool has_suites() { return g_suites.property && g_suites.effect && g_suites.parameter; }

std::string Properties::text(const char* name, const char* fallback, int index) const {
  char* value = nullptr;
  if (!handle_ || suites().property->propGetString(handle_, name, index, &value) != kOfxStatOK || !value)
    return fallback;
  return value;
}

int Properties::integer(const char* name, int fallback, int index) const {
  int value = fallback;
  if (!handle_ || suites().property->propGetInt(handle_, name, index, &value) != kOfxStatOK) return fallback;
  return value;
}

double Properties::number(const char* name, double fallback, int index) const {
  double value = fallback;
  if (!handle_ || suites().property->propGetDouble(handle_, name, index, &value) != kOfxStatOK)
    return fallback;
  return value;
}

void* Properties::pointer(const char* name) const {
  void* value = nullptr;
  if (!handle_ || suites().property->propGetPointer(handle_, name, 0, &value) != kOfxStatOK) return nullptr;
  return value;
}

void Properties::set(const char* name, const char* value, int index) const {
  if (handle_) suites().property->propSetString(handle_, name, index, value);
}

void Properties::set(const char* name, int value, int index) const {
  if (handle_) suites().property->propSetInt(handle_, name, index, value);
}

void Properties::set(const char* name, double value, int index) const {
  if (handle_) suites().property->propSetDouble(handle_, name, index, value);
}

void Properties::set_pointer(const char* name, void* value) const {
  if (handle_) suites().property->propSetPointer(handle_, name, 0, value);
}

OfxRectI Properties::rectangle(const char* name, OfxRectI fallback) const {
  int numbers[4] = {};
  for (int i = 0; i < 4; ++i)
    if (!handle_ || suites().property->propGetInt(handle_, name, i, &numbers[i]) != kOfxStatOK)
      return fallback;
  return {numbers[0], numbers[1], numbers[2], numbers[3]};
}

void Properties::set(const char* name, OfxRectD value) const {
  const double numbers[4] = {value.x1, value.y1, value.x2, value.y2};
  for (int i = 0; i < 4; ++i) set(name, numbers[i], i);
}

Properties host_properties() { return Properties(g_host ? g_host->host : nullptr); }

Properties effect_properties(OfxImageEffectHandle effect) {
  OfxPropertySetHandle handle = nullptr;
  if (!effect || !suites().effect || suites().effect->getPropertySet(effect, &handle) != kOfxStatOK)
    handle = nullptr;
  return Properties(handle);
}

bool is_in_background() { return host_properties().integer(kOfxImageEffectHostPropIsBackground) != 0; }

bool is_natron() { return host_properties().text(kOfxPropName) == "fr.inria.Natron"; }

OfxStatus show_message(OfxImageEffectHandle effect, const char* type, const std::string& text) {
  const std::string format = as_format(text);
  if (suites().persistent && suites().persistent->message)
    return suites().persistent->message(effect, type, "org.copycat", format.c_str());
  if (suites().message && suites().message->message)
    return suites().message->message(effect, type, "org.copycat", format.c_str());
  return kOfxStatReplyDefault;
}

bool can_show_messages() {
  return (suites().persistent && suites().persistent->message) ||
         (suites().message && suites().message->message);
}

bool has_persistent_messages() {
  return suites().persistent && suites().persistent->setPersistentMessage &&
         suites().persistent->clearPersistentMessage;
}

void set_persistent_message(OfxImageEffectHandle effect, const char* type, const std::string& text) {
  if (!has_persistent_messages()) {
    // A status need not pop up; an error must.
    if (!text.empty() && std::strcmp(type, kOfxMessageMessage) != 0) show_message(effect, type, text);
  } else if (text.empty() || (is_natron() && std::strcmp(type, kOfxMessageMessage) == 0)) {
    suites().persistent->clearPersistentMessage(effect);
  } else {
    suites().persistent->setPersistentMessage(effect, type, "org.copycat", as_format(text).c_str());
  }
}

bool has_progress_bars() {
  return (suites().progress2 && suites().progress2->progressUpdate) ||
         (suites().progress1 && suites().progress1->progressUpdate);
}

ProgressBar::ProgressBar(OfxImageEffectHandle effect, const std::string& label) : effect_(effect) {
  if (suites().progress2 && suites().progress2->progressStart)
    suites().progress2->progressStart(effect_, label.c_str(), "org.copycat");
  else if (suites().progress1 && suites().progress1->progressStart)
    suites().progress1->progressStart(effect_, label.c_str());
}

bool ProgressBar::update(double fraction) {
  const auto now = std::chrono::steady_clock::now();
  if (fraction == shown_ && now - updated_ < kBarInterval) return !cancelled_;
  shown_ = fraction;
  updated_ = now;
  OfxStatus status = kOfxStatOK;
  if (suites().progress2 && suites().progress2->progressUpdate)
    status = suites().progress2->progressUpdate(effect_, fraction);
  else if (suites().progress1 && suites().progress1->progressUpdate)
    status = suites().progress1->progressUpdate(effect_, fraction);
  cancelled_ = cancelled_ || status == kOfxStatReplyNo;
  return !cancelled_;
}

ProgressBar::~ProgressBar() {
  if (suites().progress2 && suites().progress2->progressEnd)
    suites().progress2->progressEnd(effect_);
  else if (suites().progress1 && suites().progress1->progressEnd)
    suites().progress1->progressEnd(effect_);
}

}  // namespace copycat
