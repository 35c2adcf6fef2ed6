/* SPDX-License-Identifier: Apache-2.0 */
/* The most memory that an agent's processes had, on a real kernel: all of it until the last one is
 * gone, and nothing from before it was the agent's. Needs privileges, see test_bpf.c. */
#include "os/bpf_collector.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "bpf_fixture.h"
#include "workload.h"

#define SLOT 8

/* More than the sanitizers give a small process. */
#define SIZE ((size_t)112 << 20)

/* The kernel's marks lack what CPUs have not folded in yet. */
#define SEEN (SIZE - ((size_t)4 << 20))
#define LEFT (SIZE / 2)

/* Tests and their processes go in step: a process waits until it may take the next one. */
struct steps {
    volatile int allowed;
    volatile int done;
};

static struct steps *steps;

static void step_done(void)
{
    int next = ++steps->done;
    while (steps->allowed < next)
        usleep(1000);
}

static bool step_is_done(void *argument)
{
    return steps->done > *(int *)argument;
}

/* Lets the process take a step, and waits until it is done. */
static void step(void)
{
    int before = steps->done;
    steps->allowed = before;
    assert_true(eventually(step_is_done, &before));
}

static char *memory_take(size_t size)
{
    char *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED)
        abort();
    return memory;
}

/* Runs @work in a child, as far as its first step_done. */
static pid_t process_start(void (*work)(void))
{
    int before = 0;

    steps->allowed = steps->done = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        work();
        _exit(0);
    }
    assert_true(eventually(step_is_done, &before));
    return pid;
}

/* Lets the process end, and leaves it as a zombie: nothing of it is released yet. */
static void process_end(pid_t pid)
{
    siginfo_t info;

    steps->allowed = steps->done;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

static uint64_t peak_now(void)
{
    read_sample();
    const struct slot_record *slot = slot_of(SLOT);
    uint64_t peak = 0;

    if (slot->known & SLOT_KNOWN_RSS)
        peak = slot->rss_max_bytes;
    if (slot->known & SLOT_KNOWN_EXITED_RSS)
        peak = MAX(peak, slot->exited_rss_peak_bytes);
    return peak;
}

static uint64_t rss_of(const struct proc_record *proc)
{
    return proc->rss_anon_bytes + proc->rss_file_bytes + proc->rss_shmem_bytes;
}

static int slot_release(void **state)
{
    (void)state;
    collector->ops->release(collector, SLOT);
    return 0;
}

/* ---- Until the end */

static void work_end_big(void)
{
    step_done();
    memory_take(SIZE);
}

static void test_the_peak_of_the_last_process_comes_with_its_end(void **state)
{
    (void)state;
    pid_t pid = process_start(work_end_big);
    adopt(SLOT, pid);
    assert_true(peak_now() < LEFT);
    process_end(pid);
    assert_true(peak_now() >= SEEN);
    assert_true(peak_now() < LEFT); /* once */
    waitpid(pid, NULL, 0);
}

static void *outlive_leader(void *argument)
{
    memory_take(SIZE);
    _exit(0);
    return argument;
}

static void work_end_by_thread(void)
{
    pthread_t thread;

    step_done();
    pthread_create(&thread, NULL, outlive_leader, NULL);
    pthread_exit(NULL);
}

static void test_whichever_thread_is_the_last(void **state)
{
    (void)state;
    pid_t pid = process_start(work_end_by_thread);
    adopt(SLOT, pid);
    assert_true(peak_now() < LEFT);
    process_end(pid);
    assert_true(peak_now() >= SEEN);
    waitpid(pid, NULL, 0);
}

static void work_child_execs(void)
{
    step_done();
    pid_t child = fork();
    if (child == 0) {
        memory_take(SIZE);
        execl("/bin/sh", "sh", "-c", "exit 0", (char *)NULL);
        _exit(1);
    }
    waitpid(child, NULL, 0);
}

/* What a process of the agent had before it became another program was the agent's as well. */
static void test_an_exec_hides_nothing(void **state)
{
    (void)state;
    pid_t pid = process_start(work_child_execs);
    adopt(SLOT, pid);
    assert_true(peak_now() < LEFT);
    process_end(pid);
    assert_true(peak_now() >= SEEN);
    waitpid(pid, NULL, 0);
}

/* ---- Since the beginning */

static pid_t *launched;
static int launch_gate[2];

/* A big process that starts another program, as an orchestrator does. */
static void launch(char *const *arguments)
{
    memory_take(SIZE);
    pid_t child = vfork();
    if (child == 0) {
        dup2(launch_gate[0], STDIN_FILENO);
        execv(arguments[0], arguments);
        _exit(1);
    }
    *launched = child;
    step_done();
    waitpid(child, NULL, 0);
}

static void work_launch_small(void)
{
    launch((char *[]){"/bin/sh", "-c", "read a; exec /bin/sh -c 'read b; exit 0'", NULL});
}

static void work_launch_half(void)
{
    launch((char *[]){"/proc/self/exe", "--half", NULL});
}

/* What that runs. */
static int half(void)
{
    char byte;

    if (read(STDIN_FILENO, &byte, 1) == 1)
        memory_take(SIZE / 2);
    return 0;
}

static pid_t launcher_start(void (*work)(void))
{
    assert_int_equal(pipe2(launch_gate, O_CLOEXEC), 0);
    pid_t pid = process_start(work);
    adopt(SLOT, *launched);
    assert_true(peak_now() < LEFT);
    return pid;
}

static void launched_go_on(void)
{
    assert_int_equal(write(launch_gate[1], "\n", 1), 1);
}

static void launcher_done(pid_t pid)
{
    waitpid(pid, NULL, 0);
    close(launch_gate[0]);
    close(launch_gate[1]);
}

static void test_the_memory_of_its_launcher_is_not_the_agents(void **state)
{
    (void)state;
    pid_t pid = launcher_start(work_launch_small);
    launched_go_on();
    usleep(100000);
    assert_true(peak_now() < LEFT);
    launched_go_on();
    process_end(pid);
    for (int i = 0; i < 10; i++) {
        assert_true(peak_now() < LEFT);
        usleep(10000); /* for the kernel to release it */
    }
    launcher_done(pid);
}

static void test_less_than_its_launcher_had_is_seen_as_well(void **state)
{
    (void)state;
    pid_t pid = launcher_start(work_launch_half);
    launched_go_on();
    process_end(pid);
    assert_in_range(peak_now(), SEEN - SIZE / 2, SEEN);
    launcher_done(pid);
}

/* Had much, has little; starts a program; then has much again. */
static void work_old(void)
{
    munmap(memory_take(SIZE), SIZE);
    step_done();
    pid_t child = vfork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "exit 0", (char *)NULL);
        _exit(1);
    }
    waitpid(child, NULL, 0);
    step_done();
    munmap(memory_take(SIZE + SIZE / 2), SIZE + SIZE / 2);
    step_done();
}

static void test_what_a_process_had_before_it_was_attached_is_not_the_agents(void **state)
{
    (void)state;
    pid_t pid = process_start(work_old);
    usleep(1100000); /* a younger one was made for its agent */
    adopt(SLOT, pid);
    assert_true(peak_now() < LEFT);
    step();
    assert_true(peak_now() < LEFT);
    assert_true(peak_now() < LEFT);
    step();
    assert_true(peak_now() >= SEEN + SIZE / 2);
    process_end(pid);
    waitpid(pid, NULL, 0);
}

static void test_nor_when_it_ends(void **state)
{
    (void)state;
    pid_t pid = process_start(work_old);
    usleep(1100000);
    adopt(SLOT, pid);
    assert_true(peak_now() < LEFT);
    kill(pid, SIGKILL);
    process_end(pid);
    assert_true(peak_now() < LEFT);
    waitpid(pid, NULL, 0);
}

static void work_young(void)
{
    munmap(memory_take(SIZE / 4), SIZE / 4);
    step_done();
}

static void test_the_whole_life_of_a_process_made_for_the_agent_counts(void **state)
{
    struct mono start = clock_mono();

    (void)state;
    pid_t pid = process_start(work_young);
    adopt(SLOT, pid);
    bool young = mono_since(clock_mono(), start) < NS_PER_SEC;
    uint64_t peak = peak_now();
    uint64_t now = rss_of(find(pid));
    process_end(pid);
    waitpid(pid, NULL, 0);
    if (!young) {
        print_message("# this machine is too slow to adopt a process within a second\n");
        skip();
    }
    assert_true(peak >= now + SEEN - SIZE * 3 / 4);
}

#define TEST(f) cmocka_unit_test_teardown(f, slot_release)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_peak_of_the_last_process_comes_with_its_end),
        TEST(test_whichever_thread_is_the_last),
        TEST(test_an_exec_hides_nothing),
        TEST(test_the_memory_of_its_launcher_is_not_the_agents),
        TEST(test_less_than_its_launcher_had_is_seen_as_well),
        TEST(test_what_a_process_had_before_it_was_attached_is_not_the_agents),
        TEST(test_nor_when_it_ends),
        TEST(test_the_whole_life_of_a_process_made_for_the_agent_counts),
    };

    if (argc == 2 && strcmp(argv[1], "--half") == 0)
        return half();
    if (bpf_skip_all())
        return 0;
    steps = shared_memory(sizeof(*steps));
    launched = shared_memory(sizeof(*launched));
    return cmocka_run_group_tests_name("bpf_peaks", tests, bpf_setup, bpf_teardown);
}
