#include "infer/client_queues.h"

#include <algorithm>
#include <limits>
#include <tuple>

namespace fathom {

bool Client::ByTurn::operator()(const Sequence* a, const Sequence* b) const {
  return std::tuple(-int64_t{a->request.priority}, a->turn, a->id) < std::tuple(-int64_t{b->request.priority}, b->turn, b->id);
}

void ClientQueues::add(Sequence* sequence) {
  Client& client = clients_[sequence->request.client];
  if (client.unfinished++ == 0) client.served = std::max(client.served, virtual_time_);
  sequence->client = &client;
  sequence->turn = client.served + sequence->num_tokens();
  client.prompts.insert(sequence);
}

void ClientQueues::remove(Sequence* sequence) {
  prompt_done(sequence);
  --sequence->client->unfinished;
  sequence->client = nullptr;
}

void ClientQueues::advance() {
  int64_t least = std::numeric_limits<int64_t>::max(), most = 0;
  for (const auto& [key, client] : clients_) {
    if (client.unfinished > 0) least = std::min(least, client.served);
    most = std::max(most, client.served);
  }
  virtual_time_ = std::max(virtual_time_, std::min(least, most));
  std::erase_if(clients_,
                [&](const auto& entry) { return entry.second.unfinished == 0 && entry.second.served <= virtual_time_; });
}

bool ClientQueues::before(const Sequence* a, const Sequence* b) {
  const auto key = [](const Sequence* s) { return std::tuple(-int64_t{s->request.priority}, s->client->served, s->id); };
  return key(a) < key(b);
}

ClientQueues::Turns::Turns(ClientQueues& queues) {
  for (auto& [key, client] : queues.clients_)
    if (!client.prompts.empty()) heap_.push_back({&client, client.prompts.begin()});
  std::make_heap(heap_.begin(), heap_.end(), later);
}

Sequence* ClientQueues::Turns::next() {
  if (last_.client && last_.at != last_.client->prompts.end()) {
    heap_.push_back(last_);
    std::push_heap(heap_.begin(), heap_.end(), later);
  }
  last_.client = nullptr;
  if (heap_.empty()) return nullptr;
  std::pop_heap(heap_.begin(), heap_.end(), later);
  last_ = heap_.back();
  heap_.pop_back();
  return *last_.at++;
}

}  // namespace fathom
