// What both effects share: the host's actions, and an instance's state, clips and message.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "host.h"
#include "image.h"
#include "interface_thread.h"
#include "knobs.h"
#include "model_file.h"
#include "worker.h"

namespace copycat {

// A clip of an effect.
struct ClipRow {
  const char* name;
  const char* label;
  bool optional;
};

// An instance of an effect. CreateInstance only stores handles; everything else is read on demand. Several
// threads at a time, each within an action of the instance.
struct Instance {
  Instance(OfxImageEffectHandle effect, const KnobTable& table);

  OfxImageClipHandle clip(const char* name) const;  // null where the context has no such clip
  bool is_connected(const char* name) const;        // according to the host; some say so of every clip
  Aborted aborted() const;

  // Sets the node's only message unless it is unchanged. Empty text removes it.
  void post(const char* type, const std::string& text);

  OfxImageEffectHandle effect;
  Parameters parameters;
  std::atomic<bool> changing{false};  // an InstanceChanged is under way
  StatusRequest status;               // of CopyCat
  std::mutex mutex;                   // of what follows
  std::string posted;
  Channels channels;  // of the model used last; empty before the first
};

struct RenderArguments {
  OfxTime time;
  double scale;  // 1, or less for a proxy
  OfxRectI window;
  Rows rows;
};

// The parameter that the user changed, or the button pressed.
struct Edit {
  std::string parameter;
  OfxTime time;
  double scale;  // at which the host works, 1 or less
};

// One of the plugins. Has no state but its instances': any thread.
class Effect {
 public:
  virtual ~Effect() = default;

  // The entry point behind OfxPlugin::mainEntry; never throws.
  OfxStatus answer(const char* action, const void* handle, OfxPropertySetHandle in,
                   OfxPropertySetHandle out) noexcept;

 protected:
  struct Description {
    const char* label;
    const char* text;
    bool is_temporal;  // fetches frames at other times
  };
  virtual Description description() const = 0;
  virtual const KnobTable& knobs() const = 0;
  virtual std::vector<ClipRow> clips(bool general) const = 0;

  // The clip whose picture, or at least whose size, the output has at that time.
  virtual const char* shown_clip(const Instance& instance, OfxTime time) const = 0;
  virtual bool is_identity(Instance& instance, OfxTime time) const = 0;
  virtual void render(Instance& instance, const RenderArguments& arguments) const = 0;

  // The host begins or ends a sequence of frames; some hosts never call this.
  virtual void sequence(Instance& instance, OfxTime first, bool begins) const = 0;

  // The user changed a parameter or pressed a button. Throws exceptions with a sentence for the user.
  virtual void changed(Instance& instance, const Edit& edit) const = 0;

 private:
  OfxStatus dispatch(const std::string& action, OfxImageEffectHandle effect, Properties in, Properties out);
  void describe(OfxImageEffectHandle effect) const;
  OfxStatus describe_in_context(OfxImageEffectHandle effect, const std::string& context) const;
  OfxStatus create(OfxImageEffectHandle effect);
  OfxStatus destroy(OfxImageEffectHandle effect);
  OfxStatus region_of_definition(const Instance& instance, Properties in, Properties out) const;
  OfxStatus regions_of_interest(const Instance& instance, Properties in, Properties out) const;
  OfxStatus frames_needed(const Instance& instance, Properties in, Properties out) const;
  OfxStatus identity(Instance& instance, Properties in, Properties out) const;
  OfxStatus render_action(Instance& instance, Properties in) const;
  OfxStatus sequence_action(Instance& instance, Properties in, bool begins) const;
  OfxStatus instance_changed(Instance& instance, Properties in) const;
};

// The main input's name in the instance's context: "Input", or "Source" in a filter.
const char* input_clip(const Instance& instance);

Effect& copycat_effect();
Effect& inference_effect();

}  // namespace copycat
