// What the two effects share: answering the host's actions, the state of an instance, its clips and its
// message.
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

// A clip that an effect asks the host for.
struct ClipRow {
  const char* name;
  const char* label;
  bool optional;
};

// An instance of an effect. Made in CreateInstance from handles alone; everything else is read when it is
// needed. Any thread that is in an action of the instance, several at a time.
struct Instance {
  Instance(OfxImageEffectHandle effect, const KnobTable& table);

  OfxImageClipHandle clip(const char* name) const;  // null where the context has no such clip
  bool is_connected(const char* name) const;        // as the host claims; some claim it of every clip
  Aborted aborted() const;

  // The message on the node: one at a time, and an unchanged one is not sent again. Empty text removes it.
  void post(const char* type, const std::string& text);

  OfxImageEffectHandle effect;
  Parameters parameters;
  std::atomic<bool> changing{false};  // an InstanceChanged is under way
  StatusRequest status;               // of CopyCat
  std::mutex mutex;                   // of what follows
  std::string posted;
  Channels channels;  // of the model last used; empty while none was
};

struct RenderArguments {
  OfxTime time;
  double scale;  // 1, or less for a proxy
  OfxRectI window;
  Rows rows;
};

// What the user changed or pressed.
struct Edit {
  std::string parameter;
  OfxTime time;
  double scale;  // at which the host works, 1 or less
};

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
    bool temporal;  // fetches frames at other times
  };
  virtual Description description() const = 0;
  virtual const KnobTable& knobs() const = 0;
  virtual std::vector<ClipRow> clips(bool general) const = 0;

  // The clip whose picture, or whose size at least, is put out at that time.
  virtual const char* shown_clip(const Instance& instance, OfxTime time) const = 0;
  virtual bool is_identity(Instance& instance, OfxTime time) const = 0;
  virtual void render(Instance& instance, const RenderArguments& arguments) const = 0;

  // A host begins or ends a row of frames; some hosts never say so.
  virtual void sequence(Instance& instance, OfxTime first, bool begins) const = 0;

  // The user changed a parameter or pressed a button. Throws a sentence for the user.
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

// The name under which the context has the main input: "Input", or "Source" in a filter.
const char* input_clip(const Instance& instance);

Effect& copycat_effect();
Effect& inference_effect();

}  // namespace copycat
