// Whose turn it is: who asks (Request::client) shares the engine with the others, however many requests each has and however
// long they are.
//
// A client's virtual time is the number of rows computed for it. In turn is, of the highest priority first, the client that
// was served least, and of its requests the one with the least turn: the client's virtual time when it came plus the length
// of its prompt. So a short prompt goes before a long one that came earlier, but nothing that came after the client was
// served as many rows as a prompt is long goes before that one. A client that was away joins the one served least: it brings
// no credit back, and what it took beyond that is not forgotten.
#pragma once
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "infer/sequence.h"

namespace fathom {

struct Client {
  struct ByTurn {
    bool operator()(const Sequence* a, const Sequence* b) const;
  };
  int64_t served = 0;                   // rows: its virtual time
  int64_t unfinished = 0;               // its requests
  int64_t num_running = 0;              // of them
  std::set<Sequence*, ByTurn> prompts;  // of them: waiting, or running with a part of the prompt to compute
};

class ClientQueues {
 public:
  void add(Sequence* sequence);     // it comes: a prompt to compute
  void remove(Sequence* sequence);  // it leaves
  void prompt_done(Sequence* sequence) { sequence->client->prompts.erase(sequence); }
  void prompt_again(Sequence* sequence) { sequence->client->prompts.insert(sequence); }
  void advance();  // between steps: virtual time goes on, and who has no part in it any more is forgotten
  const std::map<std::string, Client>& clients() const { return clients_; }
  static bool before(const Sequence* a, const Sequence* b);  // in turn, each the first of its client

  // The sequences with prompts to compute, in turn; what the last one's client is served before the next call counts. The last
  // one may leave meanwhile; else nobody comes or goes.
  class Turns {
   public:
    explicit Turns(ClientQueues& queues);
    Sequence* next();  // null: no more

   private:
    struct Entry {
      Client* client;
      std::set<Sequence*, Client::ByTurn>::iterator at;
    };
    static bool later(const Entry& a, const Entry& b) { return before(*b.at, *a.at); }
    std::vector<Entry> heap_;
    Entry last_ = {nullptr, {}};
  };

 private:
  std::map<std::string, Client> clients_;
  int64_t virtual_time_ = 0;  // of the client served least of those with requests; never goes back
};

}  // namespace fathom
