/*
 * Stands in for libcaer's DYNAP-SE1 device: preloaded into a process that runs samna, it answers libcaer's calls from a
 * virtual board (server.py) instead of USB. Only the device is replaced: register words come from the real libcaer.
 *
 * The layout of libcaer's structures is that of 3.3.7 on x86-64, the libcaer inside the samna 0.7.1.0 wheel.
 *
 * BCALL_VIRTUAL_BOARD names the server's socket; without it there is no board. Two connections: one for requests, in the
 * order of the calls, and one on which spikes come. A message is a head of four 32-bit numbers (what, a, b, count) and
 * `count` 32-bit words.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* What a message asks for; `link.py` has the same numbers. */
enum { DISCOVER = 1, OPEN = 2, CLOSE = 3, DEFAULTS = 4, SET = 5, WORDS = 6, MEMORY = 7, POISSON = 8, SLEEP = 9, DATA = 10, GET = 11 };
/* Flags of the answer to OPEN, and of a packet of spikes. */
enum { SLEEP_IS_TIME = 1 };
enum { WRAPPED = 1, DROPPED = 2 };

#define CAER_DEVICE_DYNAPSE 3
#define SPIKE_EVENT 12
#define SPIKE_SLOT 1
#define SPECIAL_EVENT 0
#define SECONDS_TO_READ 30
/* A sleep is asked for in parts, so that a signal ends it soon; the board's time is the same. */
#define PART_US 100000
/* How far the end of a sleep may seem to move (us) when CPython goes on with it after a signal. */
#define SAME_END_US 10000
/* Module and parameter of a word for the selected chip, see `device.chip_word` of the chip model. */
#define CHIP_MODULE 5
#define CHIP_CONTENT 2
/* Looks at samna's threads, one a millisecond: so many idle ones in a row are enough. A running event graph never idles. */
#define IDLE_LOOKS 10
#define MOST_LOOKS 200

struct head { uint32_t what, a, b, count; };

struct __attribute__((packed)) packet_head {
	int16_t type, source;
	int32_t size, ts_offset, ts_overflow, capacity, number, valid;
};
struct event { uint32_t data; int32_t timestamp; };
struct packet { struct packet_head head; struct event events[]; } __attribute__((packed));
struct __attribute__((packed)) container {
	int64_t lowest, highest;
	int32_t number, valid, packets;
	struct packet *packet[2];
};

struct info {
	int16_t id;
	char serial[9];
	uint8_t bus, address;
	char *string;
	int16_t logic_version;
	bool master;
	int16_t logic_clock, chip;
	bool aer_statistics, mux_statistics;
};
struct discovered { uint16_t type; bool open_error, error; struct info info; char rest[56]; };

struct queued { struct queued *next; struct container *container; uint32_t events; };

typedef void (*notify_t)(void *);

static pthread_mutex_t request_lock = PTHREAD_MUTEX_INITIALIZER;
static int request_socket = -1;
static bool gone;                 /* the server went away: the board is unplugged */
static char device_string[64], serial[9];
static bool sleep_is_time, opened;
static int device;                /* its address is the handle */

static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t queue_changed = PTHREAD_COND_INITIALIZER;
static struct queued *first, **last = &first;
static uint32_t taken;            /* spikes that samna took since the board was opened, modulo 2^32 */
static uint32_t settled;          /* of them, when the script last woke up */
static int data_socket = -1;
static pthread_t reader;
static bool reading;
static notify_t notify;
static void *notify_user;

/* libcaer's own log decides by its level what is printed; where there is no libcaer (a test), everything is. */
enum { CRITICAL = 2, NOTICE = 5 };
static void (*caer_log)(int level, const char *subject, const char *format, ...);

static void complain(int level, const char *what) {
	const char *subject = device_string[0] ? device_string : "Dynap-se";
	if (caer_log != NULL) caer_log(level, subject, "%s", what);
	else fprintf(stderr, "%s: %s\n", subject, what);
}

/* A function of the libcaer that the caller is linked to; this library is not. */
static void *of_libcaer(const char *name, void *caller) {
	Dl_info where;
	void *handle = dladdr(caller, &where) != 0 ? dlopen(where.dli_fname, RTLD_LAZY | RTLD_NOLOAD) : NULL;
	return handle != NULL ? dlsym(handle, name) : NULL;
}

static bool put(int fd, const void *bytes, size_t size) {
	for (const char *at = bytes; size > 0;) {
		ssize_t done = send(fd, at, size, MSG_NOSIGNAL);
		if (done < 0 && errno == EINTR) continue;
		if (done <= 0) return false;
		at += done;
		size -= (size_t) done;
	}
	return true;
}

static bool take(int fd, void *bytes, size_t size) {
	for (char *at = bytes; size > 0;) {
		ssize_t done = recv(fd, at, size, 0);
		if (done < 0 && errno == EINTR) continue;
		if (done <= 0) return false;
		at += done;
		size -= (size_t) done;
	}
	return true;
}

static int connected(void) {
	const char *path = getenv("BCALL_VIRTUAL_BOARD");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (path == NULL || strlen(path) >= sizeof address.sun_path) return -1;
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *) &address, sizeof address) != 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* Send a message; with an answer, wait for its head and up to 64 bytes of text. Connections begin with finding or opening a board. */
static bool message(struct head head, const uint32_t *words, struct head *answer, char *text) {
	pthread_mutex_lock(&request_lock);
	if (request_socket < 0 && !gone && (head.what == DISCOVER || head.what == OPEN)) request_socket = connected();
	bool fine = request_socket >= 0 && put(request_socket, &head, sizeof head) &&
		(head.count == 0 || put(request_socket, words, (size_t) head.count * 4));
	if (fine && answer != NULL) {
		char bytes[64] = "";
		fine = take(request_socket, answer, sizeof *answer) && answer->count < sizeof bytes && take(request_socket, bytes, answer->count);
		if (fine && text != NULL) memcpy(text, bytes, sizeof bytes);
	}
	if (!fine && request_socket >= 0) {
		close(request_socket);
		request_socket = -1;
		gone = true;
	}
	pthread_mutex_unlock(&request_lock);
	return fine;
}

/* Of calls that fail, libcaer tells those alone whose arrival the board confirms: words for a chip, and stimulus memory. */
static bool sent(struct head head, const uint32_t *words, const char *complaint) {
	bool fine = message(head, words, NULL, NULL);
	if (!fine && complaint != NULL) complain(CRITICAL, complaint);
	return fine;
}

#define CHIP_FAILED "Failed to send chip config, USB transfer failed."

/* Finding and opening ------------------------------------------------------------------------------------------------ */

static struct info info(void) {
	struct info found = { .logic_version = 3, .master = true, .logic_clock = 90, .chip = 64, .string = device_string };
	memcpy(found.serial, serial, sizeof serial);
	return found;
}

ssize_t caerDeviceDiscover(int16_t type, struct discovered **found) {
	struct head answer;
	char text[64];
	*found = NULL;
	if (type != -1 && type != CAER_DEVICE_DYNAPSE) return 0;
	if (getenv("BCALL_VIRTUAL_BOARD") == NULL || !message((struct head){ .what = DISCOVER }, NULL, &answer, text) || answer.a == 0) return 0;
	memcpy(serial, text, sizeof serial - 1);
	snprintf(device_string, sizeof device_string, "Dynap-se SN %s [virtual board]", serial);
	*found = calloc(1, sizeof **found);
	if (*found == NULL) return -1;
	(*found)->type = CAER_DEVICE_DYNAPSE;
	(*found)->info = info();
	return 1;
}

static void *read_spikes(void *unused);
void *caerDeviceDataGet(void *handle);

static void free_container(struct container *container) {
	free(container->packet[0]);
	free(container->packet[SPIKE_SLOT]);
	free(container);
}

void *caerDeviceOpen(uint16_t id, uint16_t type, uint8_t bus, uint8_t address, const char *wanted) {
	struct head answer;
	(void) id, (void) bus, (void) address, (void) wanted;
	*(void **) &caer_log = of_libcaer("caerLog", __builtin_return_address(0));
	if (type != CAER_DEVICE_DYNAPSE || !message((struct head){ .what = OPEN }, NULL, &answer, NULL)) {
		complain(CRITICAL, "Failed to open device.");
		return NULL;
	}
	if (answer.a != 0) { /* another process has it */
		complain(CRITICAL, "Failed to open device.");
		return NULL;
	}
	sleep_is_time = (answer.b & SLEEP_IS_TIME) != 0;
	opened = true;
	return &device;
}

bool caerDeviceClose(void **handle) {
	struct head answer;
	if (handle != NULL) *handle = NULL;
	opened = false;
	if (reading) {
		shutdown(data_socket, SHUT_RDWR);
		pthread_join(reader, NULL);
		close(data_socket);
		reading = false;
		for (void *left; (left = caerDeviceDataGet(&device)) != NULL;) free_container(left);
	}
	return message((struct head){ .what = CLOSE }, NULL, &answer, NULL);
}

struct info caerDynapseInfoGet(void *handle) {
	(void) handle;
	return info();
}

/* Writing ------------------------------------------------------------------------------------------------------------ */

bool caerDeviceSendDefaultConfig(void *handle) {
	(void) handle;
	return sent((struct head){ .what = DEFAULTS }, NULL, CHIP_FAILED);
}

bool caerDeviceConfigSet(void *handle, int8_t module, uint8_t parameter, uint32_t value) {
	(void) handle;
	if (module < 0) return true; /* settings of the host side: sizes of buffers and packets */
	bool confirmed = module == CHIP_MODULE && parameter == CHIP_CONTENT;
	struct head head = { .what = SET, .a = (uint32_t) module << 8 | parameter, .b = value };
	return sent(head, NULL, confirmed ? CHIP_FAILED : NULL);
}

bool caerDeviceConfigGet(void *handle, int8_t module, uint8_t parameter, uint32_t *value) {
	struct head answer;
	(void) handle;
	*value = 0;
	if (!message((struct head){ .what = GET, .a = (uint32_t) module << 8 | parameter }, NULL, &answer, NULL)) return false;
	*value = answer.b;
	return answer.a == 0;
}

bool caerDynapseSendDataToUSB(void *handle, const uint32_t *words, size_t count) {
	(void) handle;
	return sent((struct head){ .what = WORDS, .count = (uint32_t) count }, words, CHIP_FAILED);
}

bool caerDynapseWriteSramWords(void *handle, const uint16_t *words, uint32_t base, size_t count) {
	(void) handle;
	uint32_t *wide = malloc((count + 1) * sizeof *wide);
	if (wide == NULL) return false;
	for (size_t k = 0; k < count; k++) wide[k] = words[k];
	bool fine = sent((struct head){ .what = MEMORY, .a = base, .count = (uint32_t) count }, wide, CHIP_FAILED);
	free(wide);
	return fine;
}

bool caerDynapseWritePoissonSpikeRate(void *handle, uint16_t neuron, float rate_hz) {
	uint32_t bits;
	(void) handle;
	memcpy(&bits, &rate_hz, sizeof bits);
	return sent((struct head){ .what = POISSON, .a = neuron, .b = bits }, NULL, NULL);
}

/* One word at a time, made by the real libcaer's own generators. */
bool caerDynapseWriteCam(void *handle, uint16_t input, uint16_t neuron, uint8_t entry, uint8_t type) {
	uint32_t (*make)(uint16_t, uint16_t, uint8_t, uint8_t);
	*(void **) &make = of_libcaer("caerDynapseGenerateCamBits", __builtin_return_address(0));
	if (make == NULL) return false;
	uint32_t word = make(input, neuron, entry, type);
	return caerDynapseSendDataToUSB(handle, &word, 1);
}

bool caerDynapseWriteSramN(void *handle, uint16_t neuron, uint8_t entry, uint8_t virtual_core, bool sx, uint8_t dx, bool sy, uint8_t dy,
	uint8_t cores) {
	uint32_t (*make)(uint16_t, uint8_t, uint8_t, bool, uint8_t, bool, uint8_t, uint8_t);
	*(void **) &make = of_libcaer("caerDynapseGenerateSramBits", __builtin_return_address(0));
	if (make == NULL) return false;
	uint32_t word = make(neuron, entry, virtual_core, sx, dx, sy, dy, cores);
	return caerDynapseSendDataToUSB(handle, &word, 1);
}

/* Spikes ------------------------------------------------------------------------------------------------------------- */

static struct packet *new_packet(int16_t type, int32_t count) {
	struct packet *packet = calloc(1, sizeof *packet + (size_t) count * sizeof(struct event));
	if (packet != NULL)
		packet->head = (struct packet_head){ .type = type, .size = sizeof(struct event), .ts_offset = 4, .capacity = count, .number = count,
			.valid = count };
	return packet;
}

static void *read_spikes(void *unused) {
	struct head head;
	(void) unused;
	while (take(data_socket, &head, sizeof head)) {
		struct container *container = calloc(1, sizeof *container);
		struct queued *item = calloc(1, sizeof *item);
		struct packet *spikes = new_packet(SPIKE_EVENT, (int32_t) head.count);
		if (container == NULL || item == NULL || spikes == NULL || !take(data_socket, spikes->events, head.count * sizeof(struct event))) {
			free(container), free(item), free(spikes);
			break;
		}
		if (head.b & DROPPED) {
			complain(NOTICE, "Dropped EventPacket Container because ring-buffer full!");
			free(container), free(item), free(spikes);
			continue;
		}
		container->number = container->valid = (int32_t) head.count;
		container->packets = 2;
		container->packet[SPIKE_SLOT] = spikes;
		if (head.count > 0) container->lowest = spikes->events[0].timestamp, container->highest = spikes->events[head.count - 1].timestamp;
		if (head.b & WRAPPED) { /* a special event of type 0: the time stamps begin anew */
			struct packet *special = new_packet(SPECIAL_EVENT, 1);
			if (special != NULL) special->events[0] = (struct event){ .data = 1, .timestamp = INT32_MAX };
			container->packet[0] = special;
		}
		item->container = container, item->events = head.count;
		pthread_mutex_lock(&queue_lock);
		*last = item, last = &item->next;
		pthread_mutex_unlock(&queue_lock);
		if (notify != NULL) notify(notify_user);
	}
	return NULL;
}

bool caerDeviceDataStart(void *handle, notify_t increase, notify_t decrease, void *user, notify_t closed, void *closed_user) {
	struct head head = { .what = DATA };
	(void) handle, (void) decrease, (void) closed, (void) closed_user;
	notify = increase, notify_user = user;
	if (reading) return true;
	if (!opened) return false;
	taken = settled = 0;
	data_socket = connected();
	/* The answer comes when the server sends here: no spike is sent before. */
	if (data_socket < 0 || !put(data_socket, &head, sizeof head) || !take(data_socket, &head, sizeof head)) return false;
	reading = pthread_create(&reader, NULL, read_spikes, NULL) == 0;
	return reading;
}

bool caerDeviceDataStop(void *handle) {
	(void) handle;
	return true;
}

void *caerDeviceDataGet(void *handle) {
	struct container *container = NULL;
	(void) handle;
	pthread_mutex_lock(&queue_lock);
	struct queued *item = first;
	if (item != NULL) {
		first = item->next;
		if (first == NULL) last = &first;
		container = item->container;
		taken += item->events;
		free(item);
	}
	pthread_cond_broadcast(&queue_changed);
	pthread_mutex_unlock(&queue_lock);
	return container;
}

/* Time --------------------------------------------------------------------------------------------------------------- */

/* Wait until samna has taken all spikes that the server has sent. */
static void wait_until_taken(uint32_t sent_so_far) {
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += SECONDS_TO_READ;
	pthread_mutex_lock(&queue_lock);
	while (taken != sent_so_far && !gone)
		if (pthread_cond_timedwait(&queue_changed, &queue_lock, &until) == ETIMEDOUT) {
			complain(CRITICAL, "Spikes were not taken from the virtual board in time.");
			break;
		}
	pthread_mutex_unlock(&queue_lock);
}

/* Whether another thread of this process is running, or waits for a processor. */
static bool busy(void) {
	char path[64], line[256];
	bool found = false;
	DIR *tasks = opendir("/proc/self/task");
	if (tasks == NULL) return false;
	for (struct dirent *task; !found && (task = readdir(tasks)) != NULL;) {
		if (task->d_name[0] == '.' || atol(task->d_name) == syscall(SYS_gettid)) continue;
		snprintf(path, sizeof path, "/proc/self/task/%.20s/stat", task->d_name);
		FILE *file = fopen(path, "re");
		if (file == NULL) continue;
		const char *after_name = fgets(line, sizeof line, file) != NULL ? strrchr(line, ')') : NULL;
		found = after_name != NULL && after_name[1] == ' ' && after_name[2] == 'R';
		fclose(file);
	}
	closedir(tasks);
	return found;
}

/* Let samna's own threads bring the spikes that they took to where the script finds them: filters and sinks. */
static void wait_until_settled(void) {
	struct timespec pause = { .tv_nsec = 1000000 };
	for (int idle = 0, looks = 0; idle < IDLE_LOOKS && looks < MOST_LOOKS; looks++) {
		nanosleep(&pause, NULL);
		idle = busy() ? 0 : idle + 1;
	}
}

static uint64_t now_us(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000000u + (uint64_t) now.tv_nsec / 1000u;
}

/*
 * Signals that the script handles are noted while it sleeps, on their way to its handlers. No call tells of them all: they
 * come between calls too, and in other threads.
 */
static volatile sig_atomic_t signalled;
static struct sigaction handlers[NSIG];

static void note(int number, siginfo_t *info, void *context) {
	const struct sigaction *handler = &handlers[number];
	signalled = 1;
	if (handler->sa_flags & SA_SIGINFO) handler->sa_sigaction(number, info, context);
	else handler->sa_handler(number);
}

static bool is_noted(int number) {
	struct sigaction now;
	return sigaction(number, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) && now.sa_sigaction == note;
}

static void note_signals(void) {
	signalled = 0;
	for (int number = 1; number < NSIG; number++) {
		struct sigaction noting;
		if (sigaction(number, NULL, &noting) != 0 || (noting.sa_flags & SA_RESETHAND)) continue;
		if (!(noting.sa_flags & SA_SIGINFO) && (noting.sa_handler == SIG_DFL || noting.sa_handler == SIG_IGN)) continue;
		handlers[number] = noting;
		noting.sa_flags |= SA_SIGINFO;
		noting.sa_sigaction = note;
		sigaction(number, &noting, NULL);
	}
}

static void leave_signals(void) {
	for (int number = 1; number < NSIG; number++)
		if (is_noted(number)) sigaction(number, &handlers[number], NULL);
}

/*
 * Let the board's time pass. Where a signal came the caller hears of it (EINTR), with board time left over. CPython then goes
 * on until the same moment on its own clock, which has nothing to do with the board's: what is left over passes then.
 * `*us` is what the board, being gone, could not sleep.
 */
static int sleep_on_board(uint64_t *us) {
	static uint64_t asked_us, left_us, end_us;
	uint64_t end = now_us() + *us;
	bool goes_on = left_us > 0 && *us < asked_us && end + SAME_END_US > end_us && end < end_us + SAME_END_US;
	uint32_t sent_so_far;
	asked_us = *us, end_us = end;
	if (goes_on) *us = left_us;
	left_us = 0;
	do {
		uint32_t part = *us < PART_US ? (uint32_t) *us : PART_US;
		struct head answer;
		if (!message((struct head){ .what = SLEEP, .a = part }, NULL, &answer, NULL)) return 1;
		*us -= part, sent_so_far = answer.b;
		if (signalled && *us > 0) {
			left_us = *us;
			errno = EINTR;
			return -1;
		}
	} while (*us > 0);
	wait_until_taken(sent_so_far);
	if (sent_so_far != settled) wait_until_settled();
	settled = sent_so_far;
	return 0;
}

/* A sleep of the script (time.sleep of CPython up to 3.10 is a select without descriptors) may be the board's time. */
int select(int count, fd_set *reads, fd_set *writes, fd_set *errors, struct timeval *timeout) {
	static int (*real)(int, fd_set *, fd_set *, fd_set *, struct timeval *);
	if (real == NULL) *(void **) &real = dlsym(RTLD_NEXT, "select");
	bool is_sleep = count == 0 && timeout != NULL;
	if (is_sleep && opened && sleep_is_time && syscall(SYS_gettid) == getpid()) {
		uint64_t us = (uint64_t) timeout->tv_sec * 1000000u + (uint64_t) timeout->tv_usec;
		note_signals();
		int slept = sleep_on_board(&us);
		int why = errno;
		leave_signals();
		errno = why;
		timeout->tv_sec = (time_t) (us / 1000000u), timeout->tv_usec = (suseconds_t) (us % 1000000u);
		if (slept <= 0) return slept;
	}
	return real(count, reads, writes, errors, timeout);
}

/* Processes ---------------------------------------------------------------------------------------------------------- */

/*
 * What a forked process inherits is its parent's: the connections, a board that is open, a clock. It has none of the
 * threads, locks may be held by one of them, and its words and sleeps would get between those of the parent.
 */
static void in_child(void) {
	if (request_socket >= 0) close(request_socket);
	if (reading) close(data_socket);
	request_socket = data_socket = -1;
	opened = reading = gone = false;
	first = NULL, last = &first;
	pthread_mutex_init(&request_lock, NULL);
	pthread_mutex_init(&queue_lock, NULL);
	pthread_cond_init(&queue_changed, NULL);
}

/* BCALL_VIRTUAL_PARENT is the process that waits for this one, and without which nobody would end it. */
__attribute__((constructor)) static void started(void) {
	const char *given = getenv("BCALL_VIRTUAL_PARENT");
	pid_t parent = given != NULL ? (pid_t) atol(given) : 0;
	pthread_atfork(NULL, NULL, in_child);
	if (parent <= 1 || getppid() != parent) return; /* a child of that process's child goes its own way */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent) raise(SIGTERM);
}
