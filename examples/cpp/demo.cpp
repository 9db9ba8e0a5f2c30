// A token of every vendor, and a call of the vendor's API with it: what a C++ program does with qauth.hpp.
//
//     c++ -std=c++17 demo.cpp $(pkg-config --cflags --libs qauth) && QAUTH_CONFIG=qauth.toml ./a.out
//
// Prints a line per vendor: its name, how many seconds the token lives, the status of the API call.
#include <iostream>
#include <qauth.hpp>
#include <string>
#include <utility>

int main() {
    const std::pair<std::string, std::string> vendors[] = {
        {"quantaprice", "/prices?sku=PRODUCT-001"},
        {"quiqup", "/orders"},
        {"quable", "/api/products"},
        {"quartile", "/reports"},
        {"qpay", "/cards"},
    };
    try {
        auto engine = qauth::Engine::discover();
        for (const auto &[vendor, path] : vendors) {
            auto source = engine.source(vendor);
            auto token = source.token();
            auto lifetime = std::chrono::round<std::chrono::seconds>(token.expires_in().value());
            auto response = source.request("GET", path);
            std::cout << vendor << ' ' << lifetime.count() << ' ' << response.status() << '\n';
        }
    } catch (const qauth::Error &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
