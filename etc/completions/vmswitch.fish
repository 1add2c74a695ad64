# vmswitch.fish - completion for fish: the program itself says what can come next
function __vmswitch_complete
    set -l words (commandline -opc) "$(commandline -ct)"
    for line in ($words[1] complete -- $words[2..-1] 2>/dev/null)
        switch $line
            case :files
                __fish_complete_path "$(commandline -ct)"
            case :command
                set -l at (contains -i -- -- $words)
                complete -C "$(string join ' ' -- $words[(math $at + 1)..-1])"
            case '*'
                echo $line
        end
    end
end
complete -c vmswitch -f -a '(__vmswitch_complete)'
