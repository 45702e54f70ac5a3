// The Inference effect: a trained model applied to a clip.
#include "apply_model.h"
#include "effect.h"

namespace copycat {
namespace {

constexpr char kNoModel[] =
    "Model File is empty: choose a .cat file. Until then the picture passes unchanged.";

constexpr char kProxy[] =
    "This is a proxy: the model learned at full resolution, so the picture is only an approximation.";

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
    const Parameters& parameters = instance.parameters;
    const std::string& name = edit.parameter;
    const OfxTime time = edit.time;
    if ((name == "modelFile" || name == "checkpoint") && !parameters.text("modelFile", time).empty()) {
      instance.post(kOfxMessageWarning, "");
      Json request = Json::object();
      request.set("do", "describe_model").set("settings", parameters.settings(time));
      const Json answer = worker()->ask(std::move(request), nullptr, {});
      std::lock_guard lock(instance.mutex);
      instance.channels_in = answer["channels_in"].text();
      instance.channels_out = answer["channels_out"].text();
    }
    std::unique_lock lock(instance.mutex);
    const std::string in = instance.channels_in, out = instance.channels_out;
    lock.unlock();
    if (!in.empty()) {
      parameters.set_text("channelsIn", in, time);
      parameters.set_text("channelsOut", out, time);
    }
  }
};

}  // namespace

Effect& inference_effect() {
  static InferenceEffect effect;
  return effect;
}

}  // namespace copycat
