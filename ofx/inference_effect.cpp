// The Inference effect: applies a trained model to a clip.
#include "apply_model.h"
#include "effect.h"
#include "model_file.h"

namespace copycat {
namespace {

constexpr char kNoModel[] =
    "Model File is empty: choose a .cat file. Until then the picture passes unchanged.";

constexpr char kProxy[] =
    "This is a proxy: the model was trained at full resolution, so the picture is only an approximation.";

class InferenceEffect final : public Effect {
 protected:
  Description description() const override {
    return {"Inference", "Applies a model that CopyCat trained.", false};
  }

  const KnobTable& knobs() const override { return kInferenceKnobs; }

  std::vector<ClipRow> clips(bool) const override {
    return {{kOfxImageEffectSimpleSourceClipName, "Source", false}};
  }

  const char* shown_clip(const Instance&, OfxTime) const override {
    return kOfxImageEffectSimpleSourceClipName;
  }

  bool is_identity(Instance& instance, OfxTime time) const override {
    if (!instance.parameters.text("modelFile", time).empty()) return false;
    instance.post(kOfxMessageWarning, kNoModel);
    return true;
  }

  void render(Instance& instance, const RenderArguments& arguments) const override {
    const HostImage output(instance.clip(kOfxImageEffectOutputClipName), arguments.time);
    if (!output) throw std::runtime_error("the host gave no picture to render into");
    const HostImage source(instance.clip(kOfxImageEffectSimpleSourceClipName), arguments.time);
    if (!source || is_identity(instance, arguments.time)) {
      copy_or_clear(source.view(), output.view(), arguments.window, arguments.rows);
      return;
    }
    instance.parameters.check_paths(arguments.time);
    Json request = Json::object();
    request.set("do", "render").set("settings", instance.parameters.settings(arguments.time));
    const Json answer = apply_model(instance, std::move(request), source, output, arguments);
    const std::string warning = answer["warning"].text();
    if (warning.empty() && source.is_scaled(arguments.scale))
      instance.post(kOfxMessageMessage, kProxy);
    else
      instance.post(kOfxMessageWarning, warning);
  }

  void sequence(Instance& instance, OfxTime first, bool begins) const override {
    const Parameters& parameters = instance.parameters;
    if (parameters.text(begins ? "beforeRender" : "afterRender", first).empty()) return;
    Json request = Json::object();
    request.set("do", "callback").set("name", begins ? "before_render" : "after_render").set("frame", first);
    worker()->ask(request.set("settings", parameters.settings(first)), nullptr, instance.aborted());
  }

  void changed(Instance& instance, const Edit& edit) const override {
    if (edit.parameter == "modelFile") {
      instance.post(kOfxMessageWarning, "");
      remember(instance, {});
      show(instance, {}, edit.time);  // so that the last model's do not stay when this one cannot be read
      const std::string file = instance.parameters.text("modelFile", edit.time);
      instance.parameters.check_paths(edit.time);
      if (!file.empty()) remember(instance, read_channels(file).value_or(Channels{}));
    }
    // Where the plugin cannot read the channels, the first render brings them.
    if (const Channels channels = remembered(instance); !channels.in.empty())
      show(instance, channels, edit.time);
  }

 private:
  static void remember(Instance& instance, const Channels& channels) {
    std::lock_guard lock(instance.mutex);
    instance.channels = channels;
  }

  static Channels remembered(Instance& instance) {
    std::lock_guard lock(instance.mutex);
    return instance.channels;
  }

  // Only in InstanceChanged.
  static void show(const Instance& instance, const Channels& channels, OfxTime time) {
    instance.parameters.set_text("channelsIn", channels.in, time);
    instance.parameters.set_text("channelsOut", channels.out, time);
  }
};

}  // namespace

Effect& inference_effect() {
  static InferenceEffect effect;
  return effect;
}

}  // namespace copycat
