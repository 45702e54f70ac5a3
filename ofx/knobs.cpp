// Defining parameters from the table, and reading their values.
#include "knobs.h"

#include <algorithm>
#include <climits>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace copycat {
namespace {

constexpr char kDisplayPage[] = "Progress";

const char* parameter_type(KnobKind kind) {
  switch (kind) {
    case KnobKind::boolean:
      return kOfxParamTypeBoolean;
    case KnobKind::integer:
      return kOfxParamTypeInteger;
    case KnobKind::number:
      return kOfxParamTypeDouble;
    case KnobKind::choice:
      return kOfxParamTypeChoice;
    case KnobKind::button:
      return kOfxParamTypePushButton;
    default:
      return kOfxParamTypeString;
  }
}

// Only the plugin writes it.
bool is_read_out(const Knob& knob) { return knob.kind == KnobKind::info || knob.kind == KnobKind::table; }

int as_int(double value) {
  return static_cast<int>(std::clamp(value, static_cast<double>(INT_MIN), static_cast<double>(INT_MAX)));
}

const char* string_mode(const Knob& knob) {
  switch (knob.kind) {
    case KnobKind::file:
      return kOfxParamStringIsFilePath;
    case KnobKind::directory:
      return kOfxParamStringIsDirectoryPath;
    default:
      // Not a label: Nuke ignores later values of labels.
      return knob.kind == KnobKind::table || std::strchr(knob.text, '\n') ? kOfxParamStringIsMultiLine
                                                                          : kOfxParamStringIsSingleLine;
  }
}

void describe_value(const Properties& p, const Knob& knob, const std::string& gpu_name) {
  switch (knob.kind) {
    case KnobKind::boolean:
      p.set(kOfxParamPropDefault, as_int(knob.number));
      break;
    case KnobKind::integer:
      p.set(kOfxParamPropDefault, as_int(knob.number));
      p.set(kOfxParamPropMin, as_int(knob.minimum));
      p.set(kOfxParamPropMax, as_int(knob.maximum));
      p.set(kOfxParamPropDisplayMin, as_int(knob.display_minimum));
      p.set(kOfxParamPropDisplayMax, as_int(knob.display_maximum));
      break;
    case KnobKind::number:
      p.set(kOfxParamPropDefault, knob.number);
      p.set(kOfxParamPropMin, knob.minimum);
      p.set(kOfxParamPropMax, knob.maximum);
      p.set(kOfxParamPropDisplayMin, knob.display_minimum);
      p.set(kOfxParamPropDisplayMax, knob.display_maximum);
      break;
    case KnobKind::choice:
      for (int i = 0; i < knob.choice_count; ++i) p.set(kOfxParamPropChoiceOption, knob.choices[i], i);
      p.set(kOfxParamPropDefault, as_int(knob.number));
      break;
    case KnobKind::button:
      break;
    default:
      p.set(kOfxParamPropStringMode, string_mode(knob));
      // All files are read: hosts open the dialog for existing ones.
      p.set(kOfxParamPropStringFilePathExists, 1);
      p.set(kOfxParamPropDefault, std::strcmp(knob.name, "gpuName") == 0 ? gpu_name.c_str() : knob.text);
  }
}

OfxPropertySetHandle define(OfxParamSetHandle params, const char* type, const char* name) {
  OfxPropertySetHandle properties = nullptr;
  if (suites().parameter->paramDefine(params, type, name, &properties) != kOfxStatOK) return nullptr;
  return properties;
}

std::vector<std::string> pages_of(const KnobTable& table) {
  std::vector<std::string> pages;
  for (const Knob& knob : table)
    if (std::find(pages.begin(), pages.end(), knob.page) == pages.end()) pages.push_back(knob.page);
  return pages;
}

void define_pages(OfxParamSetHandle params, const KnobTable& table) {
  OfxPropertySetHandle set = nullptr;
  suites().parameter->paramSetGetPropertySet(params, &set);
  int order = 0;
  for (const std::string& page : pages_of(table)) {
    const std::string name = "page" + page;
    const Properties p(define(params, kOfxParamTypePage, name.c_str()));
    if (!p) continue;
    p.set(kOfxPropLabel, page.c_str());
    int child = 0;
    for (const Knob& knob : table)
      if (page == knob.page) p.set(kOfxParamPropPageChild, knob.name, child++);
    Properties(set).set(kOfxPluginPropParamPageOrder, name.c_str(), order++);
  }
}

}  // namespace

void define_parameters(OfxParamSetHandle params, const KnobTable& table, const std::string& gpu_name) {
  const bool grouped = host_properties().integer("OfxParamHostPropMaxPages", 1) == 0;
  if (grouped)
    for (const std::string& page : pages_of(table)) {
      const Properties p(define(params, kOfxParamTypeGroup, ("group" + page).c_str()));
      p.set(kOfxPropLabel, page.c_str());
      p.set(kOfxParamPropGroupOpen, page == table.begin()->page ? 1 : 0);
    }
  for (const Knob& knob : table) {
    const Properties p(define(params, parameter_type(knob.kind), knob.name));
    if (!p) continue;
    p.set(kOfxPropLabel, knob.label);
    p.set(kOfxParamPropHint, knob.hint);
    p.set(kOfxParamPropScriptName, knob.name);
    if (grouped) p.set(kOfxParamPropParent, (std::string("group") + knob.page).c_str());
    const bool affects_picture = knob.kind != KnobKind::button && !is_read_out(knob);
    if (knob.kind != KnobKind::button) p.set(kOfxParamPropAnimates, 0);
    p.set(kOfxParamPropEvaluateOnChange, affects_picture ? 1 : 0);
    if (is_read_out(knob)) {
      p.set(kOfxParamPropEnabled, 0);
      p.set(kOfxParamPropPersistant, knob.is_kept ? 1 : 0);
      p.set(kOfxParamPropCanUndo, 0);
    }
    describe_value(p, knob, gpu_name);
  }
  if (!grouped) define_pages(params, table);
  if (!is_natron()) return;
  const Properties p(define(params, kOfxParamTypeString, kNatronOfxParamStringSublabelName));
  p.set(kOfxParamPropDefault, "");
  p.set(kOfxParamPropSecret, 1);
  p.set(kOfxParamPropPersistant, 0);
  p.set(kOfxParamPropAnimates, 0);
  p.set(kOfxParamPropEvaluateOnChange, 0);
}

OfxParamHandle Parameters::find(const char* name) const {
  OfxParamHandle param = nullptr;
  if (!handle_ || suites().parameter->paramGetHandle(handle_, name, &param, nullptr) != kOfxStatOK)
    return nullptr;
  return param;
}

const Knob* Parameters::row(const char* name) const {
  for (const Knob& knob : *table_)
    if (std::strcmp(knob.name, name) == 0) return &knob;
  return nullptr;
}

Json Parameters::value(const Knob& knob, OfxTime time) const {
  const OfxParamHandle param = find(knob.name);
  const auto read = [&](auto* value) {
    return param && suites().parameter->paramGetValueAtTime(param, time, value) == kOfxStatOK;
  };
  switch (knob.kind) {
    case KnobKind::boolean: {
      int value = 0;
      return Json(read(&value) ? value != 0 : knob.number != 0);
    }
    case KnobKind::integer: {
      int value = 0;
      return Json(read(&value) ? static_cast<double>(value) : knob.number);
    }
    case KnobKind::number: {
      double value = 0;
      return Json(read(&value) ? value : knob.number);
    }
    case KnobKind::choice: {
      int value = 0;
      if (!read(&value) || value < 0 || value >= knob.choice_count) value = as_int(knob.number);
      return Json(knob.choices[value]);
    }
    case KnobKind::button:
      return Json();
    default: {
      char* value = nullptr;
      return Json(read(&value) && value ? std::string(value) : std::string(knob.text));
    }
  }
}

Json Parameters::values(OfxTime time, bool of_display) const {
  Json all = Json::object();
  for (const Knob& knob : *table_)
    if (knob.is_setting && of_display == (std::strcmp(knob.page, kDisplayPage) == 0))
      all.set(knob.name, value(knob, time));
  return all;
}

Json Parameters::settings(OfxTime time) const { return values(time, false); }

Json Parameters::display(OfxTime time) const { return values(time, true); }

std::string Parameters::text(const char* name, OfxTime time) const {
  const Knob* knob = row(name);
  return knob ? value(*knob, time).text() : std::string();
}

bool Parameters::is_on(const char* name, OfxTime time) const {
  const Knob* knob = row(name);
  return knob && value(*knob, time).boolean();
}

void Parameters::check_paths(OfxTime time) const {
  for (const Knob& knob : *table_) {
    const bool is_path =
        knob.kind == KnobKind::file || knob.kind == KnobKind::directory || knob.kind == KnobKind::sequence;
    if (!is_path) continue;
    const std::string path = value(knob, time).text();
    if (path.empty() || path[0] == '/' || path[0] == '~') continue;
    throw std::runtime_error(
        std::string(knob.label) + " \"" + path +
        "\" is relative: give the whole path, which means the same wherever the host was "
        "started");
  }
}

void Parameters::set_text(const char* name, const std::string& text, OfxTime time) const {
  const OfxParamHandle param = find(name);
  if (param && this->text(name, time) != text) suites().parameter->paramSetValue(param, text.c_str());
}

void Parameters::apply_preset(const std::string& preset) const {
  for (const PresetValue& value : kPresets) {
    const Knob* knob = row(value.knob);
    const OfxParamHandle param = find(value.knob);
    if (preset != value.preset || !knob || !param) continue;
    switch (knob->kind) {
      case KnobKind::number:
        suites().parameter->paramSetValue(param, value.number);
        break;
      case KnobKind::boolean:
      case KnobKind::integer:
      case KnobKind::choice:
        suites().parameter->paramSetValue(param, as_int(value.number));
        break;
      default:
        suites().parameter->paramSetValue(param, value.text);
    }
  }
}

void Parameters::show_on_node(const std::string& text, OfxTime time) const {
  if (is_natron()) set_text(kNatronOfxParamStringSublabelName, text, time);
}

void Parameters::set_enabled(const char* name, bool enabled) const {
  OfxPropertySetHandle handle = nullptr;
  const OfxParamHandle param = find(name);
  if (!param || suites().parameter->paramGetPropertySet(param, &handle) != kOfxStatOK) return;
  const Properties properties(handle);
  if (properties.integer(kOfxParamPropEnabled, 1) != (enabled ? 1 : 0))
    properties.set(kOfxParamPropEnabled, enabled ? 1 : 0);
}

}  // namespace copycat
