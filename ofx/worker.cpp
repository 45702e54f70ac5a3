// Requests to the worker: sending, waiting by turns, heartbeats, cancelling, and what to do when it is gone.
#include "worker.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <set>
#include <utility>

#include "message_frame.h"

namespace copycat {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kPoll{10};             // how often the host's abort is looked at
constexpr std::chrono::seconds kStart{90};    // a cold Python over a network disk takes its time
constexpr milliseconds kCancelPatience{300};  // from the cancel to giving the buffer up
constexpr std::size_t kIdleBuffers = 4;
constexpr std::size_t kIdleBytes = std::size_t{1} << 30;
constexpr std::size_t kBufferStep = std::size_t{1} << 20;

// Silence after which a worker that owes an answer counts as dead.
std::chrono::seconds longest_silence() {
  const char* chosen = std::getenv("COPYCAT_SILENCE_SECONDS");
  const int seconds = chosen ? std::atoi(chosen) : 0;
  return std::chrono::seconds(seconds > 0 ? seconds : 60);
}

std::shared_ptr<Worker> g_worker;  // threads that render hold it too
std::mutex g_worker_mutex;

}  // namespace

struct Worker::Pending {
  bool answered = false;
  Json answer;
  double progress = -1;
};

// What belongs to one life of the worker.
struct Worker::Connection {
  WorkerProcess process;
  std::string received;             // bytes that are not a whole message yet
  std::map<int, Pending*> pending;  // by request
  std::set<int> known_buffers;      // that the worker has mapped
  std::vector<int> dropped_buffers;
  const Clock::time_point started = Clock::now();
  Clock::time_point last_heard = started;
  std::mutex sending;
  bool reading = false;  // some thread is at the socket
  bool ready = false;    // the worker has introduced itself
  bool lost = false;
  std::string why;  // it was lost
};

std::shared_ptr<Worker> worker() {
  std::lock_guard lock(g_worker_mutex);
  if (!g_worker) g_worker = std::make_shared<Worker>();
  return g_worker;
}

void purge_worker() {
  std::shared_ptr<Worker> purged;
  {
    std::lock_guard lock(g_worker_mutex);
    purged = g_worker;
  }
  if (purged) purged->purge();
}

void end_worker() {
  std::shared_ptr<Worker> ended;  // outlives the lock: its end takes a moment
  std::lock_guard lock(g_worker_mutex);
  ended.swap(g_worker);
}

Worker::~Worker() = default;

void Worker::purge() {
  std::vector<std::unique_ptr<SharedMemory>> freed;  // unmapped after the lock is given back
  std::unique_lock lock(mutex_);
  freed.swap(idle_);
  const std::shared_ptr<Connection> connection = connection_;
  if (!connection || connection->lost || !connection->process.is_ours()) return;
  for (const auto& piece : freed) forget(*connection, *piece);
  if (!connection->ready) return;
  Json request = Json::object();
  request.set("do", "purge").set("id", next_request_++);
  lock.unlock();
  send(*connection, request, nullptr);
}

// The next message tells the worker to let go of it.
void Worker::forget(Connection& connection, const SharedMemory& piece) {
  if (connection.known_buffers.erase(piece.id())) connection.dropped_buffers.push_back(piece.id());
}

bool Worker::is_ready() {
  std::lock_guard lock(mutex_);
  return connection_ && connection_->ready && !connection_->lost && connection_->process.is_ours();
}

int Worker::count() {
  std::lock_guard lock(mutex_);
  return count_;
}

// Whether the worker died while nobody waited for it.
bool Worker::has_died_idle(const Connection& connection) {
  return connection.pending.empty() && !connection.reading && connection.process.has_ended();
}

// The living connection, else a new one, which is not ready yet. Under the lock: a start takes a millisecond.
std::shared_ptr<Worker::Connection> Worker::connect() {
  if (!connection_ || connection_->lost || !connection_->process.is_ours() || has_died_idle(*connection_)) {
    connection_ = nullptr;
    try {
      connection_ = std::make_shared<Connection>();
      ++count_;
    } catch (const std::exception& failure) {
      throw WorkerError(failure.what());
    }
  }
  return connection_;
}

void Worker::send(Connection& connection, Json& request, Buffer* buffer) {
  int descriptor = -1;
  std::string bytes;
  std::unique_lock lock(mutex_, std::defer_lock);
  std::lock_guard order(connection.sending);  // buffers become known in the order of the messages
  lock.lock();
  if (!connection.dropped_buffers.empty()) {
    Json dropped = Json::array();
    for (const int id : std::exchange(connection.dropped_buffers, {})) dropped.append(id);
    request.set("drop", std::move(dropped));
  }
  if (buffer) {
    SharedMemory& memory = buffer->memory();
    Json described = Json::object();
    described.set("id", memory.id()).set("bytes", static_cast<double>(memory.bytes()));
    if (connection.known_buffers.insert(memory.id()).second) descriptor = memory.descriptor();
    request.set("buffer", std::move(described));
  }
  lock.unlock();
  bytes = frame_message(request.dump(), descriptor >= 0 ? 1 : 0);

  for (std::size_t sent = 0; sent < bytes.size();) {
    iovec piece{bytes.data() + sent, bytes.size() - sent};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    if (sent == 0 && descriptor >= 0) {
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    }
#ifdef MSG_NOSIGNAL
    const ssize_t done = sendmsg(connection.process.socket(), &message, MSG_NOSIGNAL);
#else
    const ssize_t done = sendmsg(connection.process.socket(), &message, 0);
#endif
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return;  // the reader finds out and says why
    sent += static_cast<std::size_t>(done);
  }
}

// Waits a moment for bytes and hands out the messages among them. One thread at a time; the others wait for
// it.
void Worker::read_once(Connection& connection, std::unique_lock<std::mutex>& lock) {
  if (connection.reading) {
    changed_.wait_for(lock, kPoll);
    return;
  }
  connection.reading = true;
  lock.unlock();
  pollfd waiting{connection.process.socket(), POLLIN, 0};
  char bytes[65536];
  ssize_t got = -2;  // nothing to read
  if (poll(&waiting, 1, static_cast<int>(kPoll.count())) > 0)
    got = recv(connection.process.socket(), bytes, sizeof bytes, MSG_DONTWAIT);
  const bool gone = got == 0 || (got == -1 && errno != EINTR && errno != EAGAIN);
  lock.lock();
  connection.reading = false;
  std::string why;
  if (got > 0) {
    connection.last_heard = Clock::now();
    connection.received.append(bytes, static_cast<std::size_t>(got));
    try {
      while (auto message = take_message(connection.received)) receive(connection, Json::parse(*message));
    } catch (const std::exception& error) {
      why = error.what();
    }
  } else if (gone) {
    const std::string words = connection.process.last_words();
    why = std::string(connection.ready ? "the copycat worker has died" : "the copycat worker did not start") +
          (words.empty() ? "" : ": " + words);
  } else if (!connection.ready && Clock::now() - connection.started > kStart) {
    why = "the copycat worker did not start within " + std::to_string(kStart.count()) + " seconds";
  } else if (!connection.pending.empty() && Clock::now() - connection.last_heard > longest_silence()) {
    why = "the copycat worker has been silent for " + std::to_string(longest_silence().count()) + " seconds";
  }
  if (!why.empty() && !connection.lost) {
    connection.lost = true;
    connection.why = why;
    connection.process.kill();
  }
  changed_.notify_all();
}

// One message of the worker, under the lock.
void Worker::receive(Connection& connection, const Json& message) {
  if (message.has("hello")) {
    const Json& hello = message["hello"];
    const int spoken = static_cast<int>(hello["protocol"].number());
    if (spoken != kProtocolVersion)
      throw std::runtime_error("the copycat worker (version " + hello["version"].text("unknown") +
                               ") speaks protocol " + std::to_string(spoken) + " and this plugin speaks " +
                               std::to_string(kProtocolVersion) +
                               ": run \"copycat ofx install\" with the copycat that you use");
    connection.ready = true;
    return;
  }
  const auto found = connection.pending.find(static_cast<int>(message["id"].number()));
  if (found == connection.pending.end()) return;  // a heartbeat, or an answer nobody waits for any more
  if (message.has("progress")) {
    found->second->progress = message["progress"].number();
    return;
  }
  found->second->answer = message;
  found->second->answered = true;
}

Json Worker::ask(Json request, Buffer* buffer, const Aborted& aborted, const Progress& progress) {
  Pending pending;
  std::unique_lock lock(mutex_);
  const std::shared_ptr<Connection> connection = connect();
  const int id = next_request_++;
  request.set("id", id);
  bool sent = false;
  double reported = -1;
  std::exception_ptr stopped;
  Clock::time_point give_up{};
  while (!pending.answered && !connection->lost && !(stopped && (!sent || Clock::now() > give_up))) {
    if (connection->ready && !sent) {
      if (connection->pending.empty()) connection->last_heard = Clock::now();
      connection->pending.emplace(id, &pending);
      sent = true;
      lock.unlock();
      send(*connection, request, buffer);
      lock.lock();
    }
    read_once(*connection, lock);
    if (stopped) continue;
    const double now = pending.progress;
    lock.unlock();
    try {
      if (progress && now != reported) progress(reported = now);
      if (aborted && aborted()) throw Cancelled();
    } catch (...) {
      stopped = std::current_exception();
      give_up = Clock::now() + kCancelPatience;
      Json cancel = Json::object();
      cancel.set("cancel", id);
      if (sent) send(*connection, cancel, nullptr);
    }
    lock.lock();
  }
  connection->pending.erase(id);
  if (buffer && sent && !pending.answered) buffer->discard();
  if (connection->lost && connection_ == connection) connection_ = nullptr;
  const std::string why = connection->why;
  lock.unlock();

  if (stopped && !pending.answer.has("ok")) std::rethrow_exception(stopped);
  if (!pending.answered) throw WorkerError(why + "; the next request starts a new one");
  if (pending.answer.has("error"))
    throw WorkerError(pending.answer["error"].text("the copycat worker failed"));
  return pending.answer["ok"];
}

std::unique_ptr<SharedMemory> Worker::borrow(std::size_t bytes) {
  const std::size_t wanted = (std::max(bytes, std::size_t{1}) + kBufferStep - 1) / kBufferStep * kBufferStep;
  {
    std::lock_guard lock(mutex_);
    for (auto it = idle_.rbegin(); it != idle_.rend(); ++it) {
      if ((*it)->bytes() < wanted || (*it)->bytes() > 2 * wanted) continue;
      std::unique_ptr<SharedMemory> memory = std::move(*it);
      idle_.erase(std::next(it).base());
      return memory;
    }
  }
  return std::make_unique<SharedMemory>(wanted);
}

void Worker::give_back(std::unique_ptr<SharedMemory> memory, bool discarded) {
  std::vector<std::unique_ptr<SharedMemory>> freed;  // unmapped after the lock is given back
  std::lock_guard lock(mutex_);
  if (discarded)
    freed.push_back(std::move(memory));
  else
    idle_.push_back(std::move(memory));
  std::size_t held = 0;
  for (const auto& piece : idle_) held += piece->bytes();
  while (idle_.size() > kIdleBuffers || (held > kIdleBytes && idle_.size() > 1)) {
    held -= idle_.front()->bytes();
    freed.push_back(std::move(idle_.front()));
    idle_.erase(idle_.begin());
  }
  if (connection_)
    for (const auto& piece : freed) forget(*connection_, *piece);
}

Buffer::Buffer(std::shared_ptr<Worker> worker, std::size_t bytes)
    : worker_(std::move(worker)), memory_(worker_->borrow(bytes)) {}
Buffer::~Buffer() { worker_->give_back(std::move(memory_), discarded_); }

}  // namespace copycat
