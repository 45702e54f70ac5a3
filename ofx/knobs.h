// The knob tables of the two effects, generated from `python -m copycat.settings.tables`, and their
// parameters.
#pragma once

#include <string>

#include "host.h"
#include "json.h"

namespace copycat {

enum class KnobKind {
  boolean,
  integer,
  number,
  choice,
  text,
  sequence,
  file,
  directory,
  button,
  info,
  table
};

// One row of the table.
struct Knob {
  const char* name;
  const char* label;
  const char* hint;
  const char* page;
  KnobKind kind;
  bool is_setting;          // a value that the worker gets
  double number;            // default of a boolean, integer or number; index of a choice's default
  const char* text;         // default of a text
  double minimum, maximum;  // limits
  double display_minimum, display_maximum;  // ends of the slider
  const char* const* choices;
  int choice_count;
  bool is_kept;  // the project saves this read-out
};

struct KnobTable {
  const Knob* first;
  const Knob* last;
  const Knob* begin() const { return first; }
  const Knob* end() const { return last; }
};

// What a preset sets one knob to.
struct PresetValue {
  const char* preset;
  const char* knob;
  const char* text;  // of a text
  double number;     // of a boolean, integer or number; index of a choice
};

struct PresetTable {
  const PresetValue* first;
  const PresetValue* last;
  const PresetValue* begin() const { return first; }
  const PresetValue* end() const { return last; }
};

extern const PresetTable kPresets;
extern const KnobTable kCopyCatKnobs;
extern const KnobTable kInferenceKnobs;
extern const char* const kVersion;
extern const int kVersionNumbers[3];

// In DescribeInContext: defines one parameter per row, on pages, or in groups for hosts without pages.
void define_parameters(OfxParamSetHandle params, const KnobTable& table, const std::string& gpu_name);

// The parameters of an instance, by script name. One that the host does not have returns its default. Any
// thread that is in an action of the instance.
class Parameters {
 public:
  Parameters() = default;
  Parameters(OfxParamSetHandle handle, const KnobTable& table) : handle_(handle), table_(&table) {}

  // All settings as the worker takes them: {"epochs": 10000, "modelSize": "Medium", ...}.
  Json settings(OfxTime time) const;
  // The knobs of the Progress page, which control how runs are shown: {"logScale": false, ...}.
  Json display(OfxTime time) const;
  Json value(const Knob& knob, OfxTime time) const;
  std::string text(const char* name, OfxTime time) const;  // a text, or the chosen option's name
  bool is_on(const char* name, OfxTime time) const;

  // Throws std::runtime_error that names the first file or directory whose path is relative: it would be
  // looked for wherever the host was started.
  void check_paths(OfxTime time) const;

  // Only in InstanceChanged. An unchanged text is not set again.
  void set_text(const char* name, const std::string& text, OfxTime time) const;
  // Only in InstanceChanged: sets the knobs that a preset stands for; none if there is no such preset.
  void apply_preset(const std::string& preset) const;
  // Only in InstanceChanged: sets Natron's line below the node's name. Other hosts show messages.
  void show_on_node(const std::string& text, OfxTime time) const;
  void set_enabled(const char* name, bool enabled) const;

 private:
  Json values(OfxTime time, bool of_display) const;
  OfxParamHandle find(const char* name) const;
  const Knob* row(const char* name) const;

  OfxParamSetHandle handle_ = nullptr;
  const KnobTable* table_ = nullptr;
};

}  // namespace copycat
