# vmswitch.bash - completion for bash: the program itself says what can come next
_vmswitch() {
    local line at
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
        :files) compopt -o default 2> /dev/null ;;
        :command)
            for ((at = 1; at < COMP_CWORD; at++)); do
                [ "${COMP_WORDS[at]}" != -- ] || break
            done
            if declare -F _command_offset > /dev/null; then
                _command_offset $((at + 1))
            elif [ $((at + 1)) = "$COMP_CWORD" ]; then
                mapfile -t COMPREPLY < <(compgen -c -- "${COMP_WORDS[COMP_CWORD]}")
            else
                compopt -o default 2> /dev/null
            fi
            ;;
        ?*)
            line=${line%%$'\t'*}
            # bash takes "--mode=shared" for three words, and this is the third.
            [[ ${COMP_WORDS[COMP_CWORD]} == --* ]] || line=${line#--*=}
            COMPREPLY+=("$line")
            ;;
        esac
    done < <("${COMP_WORDS[0]}" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2> /dev/null)
}
complete -F _vmswitch vmswitch
