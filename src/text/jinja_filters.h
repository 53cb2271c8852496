// Filters and tests by name.
#pragma once
#include <string>
#include <unordered_map>

#include "text/jinja_evaluator.h"

namespace fathom::jinja {

using Filter = Value (*)(Evaluator& evaluator, const Value& input, const Arguments& arguments);
using Test = bool (*)(Evaluator& evaluator, const Value& input, const Arguments& arguments);
using FilterTable = std::unordered_map<std::string, Filter>;
const FilterTable& text_filters();      // jinja_text_filters.cpp
const FilterTable& sequence_filters();  // jinja_sequence_filters.cpp
const FilterTable& number_filters();    // jinja_number_filters.cpp
const std::unordered_map<std::string, Test>& tests();

Filter find_filter(const std::string& name);  // null: none
bool is_filter(const std::string& name);
bool is_test(const std::string& name);

}  // namespace fathom::jinja
