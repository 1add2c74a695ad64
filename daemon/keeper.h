/* daemon/keeper.h - the half of a stand-alone front end that keeps the privilege
 *
 * Started first by the front (daemon/front.h), which may be root: it makes the socket and the pidfile, opens
 * the TAP or starts the uplink's process, again when the front asks for it, and removes what it made when its
 * channel ends, however the front ended. It reads nothing of a client.
 *
 * What is always true
 *   All that it can be told to do is in the first message (MSG_KEEP), which comes before the front hears a
 * client. A front that was taken over can ask for this one uplink again, and for the end. It ends after its
 * children and after what it made is gone; the front waits for that.
 *
 * The process nat beside a TAP has its folder in /run/vmswitch-front, which is removed with it.
 *
 * Messages: MSG_KEEP -> MSG_BOUND + socket; MSG_START -> MSG_STARTED + channel, MSG_EXITED later; MSG_STOP;
 * MSG_OPEN_TAP -> MSG_TAP + fd; MSG_PUBLISH -> MSG_DONE. Payloads of MSG_START, _STOP and _OPEN_TAP are not
 * looked at.
 */
#ifndef DAEMON_KEEPER_H
#define DAEMON_KEEPER_H

/* The role: 'channel_fd' is the front's. Returns an exit code. */
int keeper_main(const char *program, int channel_fd);

#endif
