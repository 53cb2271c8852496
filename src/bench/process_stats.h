// What this process holds and what others take from it while it is measured (Linux; 0 elsewhere).
#pragma once

namespace fathom {

double peak_resident_bytes();  // since the start or the last reset
void reset_peak_resident();    // to what is resident now
double resident_bytes();       // now

// The share of all processors' time that other processes (and the host) took between construction and the call, 0 to 1.
class OthersLoad {
 public:
  OthersLoad();
  double share() const;

 private:
  double busy_ = 0, total_ = 0, own_ = 0;  // seconds at construction
};

}  // namespace fathom
