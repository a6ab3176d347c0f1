// C++ exceptions: unwinding through frames, destructors, threads.
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static int failures;

static void fact(bool holds, const char *what)
{
    std::printf("%s %s\n", holds ? "PASS" : "FAIL", what);
    std::fflush(stdout);
    failures += !holds;
}

static int alive;

struct Counted {
    Counted() { alive++; }
    Counted(const Counted &) = delete;
    Counted &operator=(const Counted &) = delete;
    ~Counted() { alive--; }
};

struct Base {
    virtual ~Base() = default;
    virtual std::string name() const { return "base"; }
};

struct Derived : Base {
    std::string name() const override { return "derived"; }
};

[[gnu::noinline]] static int dive(int depth)
{
    Counted here;
    std::vector<int> more(static_cast<std::size_t>(depth) + 1);
    if (depth == 0)
        throw std::runtime_error("from the bottom");
    return dive(depth - 1) + static_cast<int>(more.size());
}

int main()
{
    std::string text;
    try {
        dive(500);
    } catch (const std::exception &error) {
        text = error.what();
    }
    fact(text == "from the bottom", "an exception passes 500 frames and is caught by its base class");
    fact(alive == 0, "every destructor on its way has run");

    int rethrown = 0;
    try {
        try {
            throw Derived();
        } catch (const Base &) {
            rethrown++;
            throw;
        }
    } catch (const Derived &thrown) {
        rethrown += thrown.name() == "derived";
    }
    fact(rethrown == 2, "thrown again, it keeps its type");

    std::unique_ptr<Base> object = std::make_unique<Derived>();
    bool bad_cast = false;
    try {
        struct Other : Base {};
        (void)dynamic_cast<Other &>(*object);
    } catch (const std::bad_cast &) {
        bad_cast = true;
    }
    fact(bad_cast && dynamic_cast<Derived *>(object.get()) != nullptr, "types are known when it runs");

    std::exception_ptr carried;
    std::thread thread([&] {
        try {
            dive(10);
        } catch (...) {
            carried = std::current_exception();
        }
    });
    thread.join();
    text.clear();
    try {
        std::rethrow_exception(carried);
    } catch (const std::runtime_error &error) {
        text = error.what();
    }
    fact(text == "from the bottom", "an exception is carried from one thread to another");

    int caught = 0;
    for (int i = 0; i < 2000; i++) {
        try {
            if (i % 2)
                throw i;
            throw std::string("even");
        } catch (int number) {
            caught += number == i;
        } catch (const std::string &) {
            caught++;
        }
    }
    fact(caught == 2000, "two thousand thrown and caught");
    return failures != 0;
}
