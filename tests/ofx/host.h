// The host's side of the OpenFX API: effects, parameters, clips, messages, progress, controlled by tests.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "abi.h"
#include "json.h"
#include "pictures.h"
#include "properties.h"

namespace test_host {

struct Param {
  std::string name, type;
  PropertySet properties;
  Value value;
};

struct Clip {
  std::string name;
  PropertySet properties;
  std::map<double, std::unique_ptr<Picture>> pictures;  // by time
};

// A descriptor or an instance.
struct Effect {
  OfxPlugin* plugin = nullptr;
  bool is_instance = false;
  PropertySet properties, param_set_properties;
  std::vector<std::unique_ptr<Param>> params;
  std::vector<std::unique_ptr<Clip>> clips;
  std::atomic<bool> abort{false};
  std::atomic<int> aborts_asked{0};
  int abort_after = -1;  // calls of abort() until it says yes

  OfxImageEffectHandle handle() { return reinterpret_cast<OfxImageEffectHandle>(this); }
  Param* param(const std::string& name);
  Clip* clip(const std::string& name);
};

// The host itself, with switches and records for tests.
struct Host {
  OfxHost host{};
  PropertySet properties;
  std::set<std::string> missing_suites;
  OfxStatus question_answer = kOfxStatReplyYes;
  std::string echo = kOfxChangePluginEdited;  // the reason given for what the plugin itself has set
  bool draws_at_once = false;                 // asks again while a message is being put on the node
  bool silent_pictures = false;               // that do not say at which scale they are
  bool presses_twice = false;                 // the user presses Start Training again while it fetches
  double cancel_progress_at = 2;
  bool progress_shown = false;
  std::vector<std::pair<double, double>> progress;  // each new value with its time in seconds
  std::vector<copycat::Json> messages;
  std::vector<std::unique_ptr<PropertySet>> loaned_images;
};

Host& the_host();

// Where a render running on this thread puts its pixels; null outside of a render.
void set_output_of_this_thread(const Picture* picture);

// Calls the plugin's main entry, with checks before and after.
OfxStatus call(Effect* effect, OfxPlugin* plugin, const char* action, PropertySet* in, PropertySet* out);

}  // namespace test_host
