# Completion for bash: put it into /usr/share/bash-completion/completions/longhaul.
# Options are asked of the program itself, so that they are always those of the one installed.
_longhaul() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local command=${COMP_WORDS[1]} choices words
    local commands="send serve digest partials worker submit status pause resume cancel retry queue help"

    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ] || { [ "$command" = help ] && [ "$COMP_CWORD" -eq 2 ]; }; then
        mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current")
        return
    fi
    # "--zero-copy auto|on|off": the words of a choice.
    choices=$(longhaul "$command" --help 2>/dev/null |
        sed -n "s/^  \(-., \)\{0,1\}$previous \([a-z]*|[a-z|]*\).*/\2/p")
    if [ -n "$choices" ]; then
        mapfile -t COMPREPLY < <(compgen -W "${choices//|/ }" -- "$current")
    elif [[ $current == -* ]]; then
        words=$(longhaul "$command" --help 2>/dev/null |
            sed -n 's/^  \(-., \)\{0,1\}\(--[a-z-]*\).*/\2/p')
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    elif [ "$command" = queue ]; then
        mapfile -t COMPREPLY < <(compgen -W dead -- "$current")
    elif [ "$previous" = --root ]; then
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
        compopt -o filenames
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        compopt -o filenames
    fi
}
complete -F _longhaul longhaul
