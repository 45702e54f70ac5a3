// Bars, deadlines and late answers.
#include "interface_thread.h"

#include "environment.h"

namespace copycat {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPoll{10};
constexpr milliseconds kUntilBar{500};
constexpr std::chrono::seconds kStatusPatience{2};

// For how long a button is waited for that nothing can cancel.
std::chrono::seconds patience_without_bar() { return seconds_from("COPYCAT_BUTTON_SECONDS", 30); }

const char* reason_to_wait() {
  return worker()->is_ready() ? "copycat: waiting for the worker" : "copycat: starting the worker";
}

}  // namespace

bool LateProgressBar::update(double fraction) {
  const auto waited = std::chrono::steady_clock::now() - started_;
  if (waited < kUntilBar) return true;
  if (!has_progress_bars()) {
    if (waited < patience_without_bar()) return true;
    throw WorkerError("the copycat worker is busy: try again in a moment");
  }
  if (!bar_) bar_.emplace(effect_, label_);
  return bar_->update(fraction);
}

Json ask_behind_bar(OfxImageEffectHandle effect, Json message) {
  LateProgressBar bar(effect, reason_to_wait());
  double share = 0;
  return worker()->ask(
      std::move(message), nullptr, [&] { return !bar.update(share); }, [&](double done) { share = done; });
}

void finish_behind_bar(OfxImageEffectHandle effect, Json message) {
  LateProgressBar bar(effect, reason_to_wait());
  const std::unique_ptr<Request> request = worker()->send(std::move(message));
  while (!request->wait(kPoll))
    if (!bar.update(0)) return;
}

std::optional<Json> StatusRequest::ask(Json message) {
  const std::shared_ptr<Request> request = worker()->send(std::move(message));
  {
    std::lock_guard lock(mutex_);
    open_ = request;
  }
  if (!request->wait(kStatusPatience)) return std::nullopt;
  forget();
  return request->result();
}

std::optional<Json> StatusRequest::take_late_answer() {
  std::lock_guard lock(mutex_);
  if (!open_ || !open_->wait(milliseconds{0})) return std::nullopt;
  const std::shared_ptr<Request> request = std::move(open_);
  try {
    return request->result();
  } catch (const WorkerError&) {
    return std::nullopt;
  }
}

void StatusRequest::forget() {
  std::lock_guard lock(mutex_);
  open_.reset();
}

}  // namespace copycat
