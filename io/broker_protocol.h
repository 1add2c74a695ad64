/* io/broker_protocol.h - the words of the network broker's messages: its side and its clients'
 *
 * vmnet-broker's: {"command": "acquire", "network_name": NAME} -> {"network": ...} or {"error": CODE}. We add
 * "watch" and "uplink" to the request, "message" (a sentence) and "not_ours" to an error, and messages
 * {"event": "peers"} to those who watch. Lima's fields begin with a capital. docs/broker.md has all of it.
 */
#ifndef IO_BROKER_PROTOCOL_H
#define IO_BROKER_PROTOCOL_H

#define BROKER_SERVICE "io.github.vmswitch.broker"

#define BROKER_COMMAND "command"
#define BROKER_COMMAND_ACQUIRE "acquire"
#define BROKER_NETWORK_NAME "network_name"
#define BROKER_WATCH "watch"   /* bool */
#define BROKER_UPLINK "uplink" /* bool: asked by the uplink of a network of that name */
#define BROKER_NETWORK "network"
#define BROKER_ERROR "error" /* int64 */
#define BROKER_MESSAGE "message"
#define BROKER_NOT_OURS "not_ours" /* bool: that network is not of the broker's vmswitchd */

#define BROKER_EVENT "event"
#define BROKER_EVENT_PEERS "peers"
#define BROKER_PEERS "peers" /* array of {"pid": int64, "uid": int64} */
#define BROKER_PEER_PID "pid"
#define BROKER_PEER_UID "uid"

#define LIMA_NETWORK "Network"
#define LIMA_CONFIGURATION "Configuration"
#define LIMA_FD_TYPE "FdType"
#define LIMA_INTERFACE_DESC "InterfaceDesc"
#define LIMA_SERIALIZATION "Serialization"
#define LIMA_FILE_DESCRIPTOR "FileDescriptor"
#define LIMA_ERROR "Error"

#endif
